"""The stages in which models are evaluated, one for each model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from kdprobe.errors import UsageError

if TYPE_CHECKING:
    from kdprobe.api.given.inputs import ProblemSource
    from kdprobe.evaluation.protocol import Protocol
    from kdprobe.experiment.eval_models import EvalRequest
    from kdprobe.experiment.stages.stage import Stage
    from kdprobe.models.adapters import Adapters
    from kdprobe.models.conversation import Conversation
    from kdprobe.problems.problem import Problem
    from kdprobe.students.student import Student

HUGGING_FACE = "hf"
"""The model type of models that run locally."""


@dataclass(frozen=True)
class Evaluations:
    """What `evaluate` does.

    Attributes:
        stages: The stage of each model, by name.
        students: The models that run here, by name; empty if another program runs them.
        digests: The SHA-256 of each student's adapter, or `None` if it has none.
        problems: The problems.
        source: Where the problems are from.
    """

    stages: dict[str, Stage]
    students: dict[str, Student]
    digests: dict[str, str | None]
    problems: Sequence[Problem]
    source: ProblemSource


def protocol_of(task: str | None, batch_size: int | str | None, **settings: Any) -> Protocol:
    """Returns the evaluation protocol, checked like `[evaluation]` in an experiment.

    Args:
        task: A variant of the task, or `None`.
        batch_size: Problems per batch.
        settings: `max_new_tokens`, `temperature`, `top_p`, `seed` and `dtype`.

    Raises:
        UsageError: An argument is invalid.
    """
    from typing import get_args

    from pydantic import ValidationError

    from kdprobe.evaluation.protocol import TASKS, Protocol
    from kdprobe.experiment.config import EvaluationConfig
    from kdprobe.experiment.config_checks import sentences
    from kdprobe.host.suggestions import suggested
    from kdprobe.models.reference import Dtype

    if task not in (None, *TASKS):
        hint = f"{suggested(str(task), TASKS)} Available tasks: {', '.join(TASKS)}.".lstrip()
        raise UsageError(f"Unknown task {task!r}.", hint)
    if settings["dtype"] not in get_args(Dtype):
        raise UsageError(f"Unknown dtype {settings['dtype']!r}.", f"Use one of {', '.join(get_args(Dtype))}.")
    try:
        EvaluationConfig.model_validate({name: value for name, value in settings.items() if name != "dtype"})
    except ValidationError as error:
        raise UsageError(f"{'; '.join(sentences(error))}.") from error
    return Protocol(**settings, batch_size=_batch_size(batch_size), task=task)


def eval_stages(
    model: str,
    source: Callable[[], ProblemSource],
    protocol: Protocol,
    conversation: Conversation,
    *,
    limit: int | None,
    revision: str | None,
    adapters: Adapters,
    with_base: bool,
    model_type: str,
    model_args: str,
    batch_size: int | str | None,
) -> Evaluations:
    """Returns the stages of all models, and the students they test; arguments as in `kdprobe.evaluate`.

    Raises:
        UsageError: Arguments contradict each other, or a name does not exist.
        KdprobeError: A model or the problems cannot be read.
    """
    from kdprobe.experiment.eval_models import eval_request, lm_eval_stage, local_eval_stages
    from kdprobe.models.adapters import named_adapters
    from kdprobe.models.reference import resolve
    from kdprobe.students.student import Student

    here = model_type == HUGGING_FACE
    if here and model_args:
        raise UsageError("--model-args applies only to model types other than hf.", "Set --model-type.")
    if not here and (adapters or with_base or revision):
        raise UsageError("--adapter, --with-base and --revision are for models that run locally.", "Use --model-args.")

    def request(given: ProblemSource) -> EvalRequest:
        return eval_request(given.source, given.name, limit, protocol, conversation, finite=given.finite)

    if not here:
        text = None if batch_size is None else str(batch_size)
        asked = request(given := source())
        stage = lm_eval_stage(model, model_type, model_args, text, asked)
        return Evaluations({stage.name: stage}, {}, {}, asked.problems, given)
    # Models first, since problems may have to be downloaded.
    base, named = resolve(model, revision), named_adapters(adapters)
    asked = request(given := source())
    stages = local_eval_stages(base, named, asked, with_base=with_base)
    base, students = replace(base, conversation=conversation), {}
    for name in stages:
        adapter = named.get(name)
        students[name] = Student(name, base, adapter.path, adapter.caution) if adapter else Student(name, base)
    digests = {name: named[name].digest if name in named else None for name in stages}
    return Evaluations(stages, students, digests, asked.problems, given)


def _batch_size(size: int | str | None) -> int | Literal["auto"]:
    text = str(size)
    if size is None or text == "auto":
        return "auto"
    if isinstance(size, bool) or not text.isdecimal() or not int(text):
        raise UsageError(f"The batch size {text!r} must be 'auto' or a positive integer.", "Correct --batch-size.")
    return int(text)
