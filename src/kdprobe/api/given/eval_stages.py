"""The stages in which models are evaluated, one for each model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from kdprobe.errors import UsageError
from kdprobe.words import enumerated

if TYPE_CHECKING:
    from kdprobe.api.given.inputs import ProblemSource
    from kdprobe.evaluation.protocol import Protocol
    from kdprobe.evaluation.tasks.load import DrawnTask
    from kdprobe.experiment.evaluations.models import EvalRequest
    from kdprobe.experiment.stages.engine import ChosenEngine
    from kdprobe.experiment.stages.stage import Stage
    from kdprobe.models.adapters import Adapters
    from kdprobe.models.conversation import Conversation
    from kdprobe.models.reference import Quantization
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
        problems: The problems; none if models are evaluated only on other tasks.
        source: Where the problems are from, or `None`.
        tasks: The stage of each other task and model, by their names.
    """

    stages: dict[str, Stage]
    students: dict[str, Student]
    digests: dict[str, str | None]
    problems: Sequence[Problem]
    source: ProblemSource | None
    tasks: dict[str, dict[str, Stage]]


def protocol_of(task: str | None, batch_size: int | str | None, **settings: Any) -> Protocol:
    """Returns the evaluation protocol, checked like `[evaluation]` in an experiment.

    Args:
        task: A variant of the task, or `None`.
        batch_size: Problems per batch.
        settings: `max_new_tokens`, `temperature`, `top_p`, `seed`, `samples` and `dtype`.

    Raises:
        UsageError: An argument is invalid.
    """
    from typing import get_args

    from pydantic import ValidationError

    from kdprobe.evaluation.protocol import TASKS, Protocol
    from kdprobe.experiment.evaluations.config import EvaluationConfig
    from kdprobe.experiment.section import sentences
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
    source: Callable[[], ProblemSource] | None,
    tasks: Callable[[], Sequence[DrawnTask]],
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
    quantization: Quantization | None,
    engine: ChosenEngine,
    device_map: str | None,
) -> Evaluations:
    """Returns the stages of all models, and the students they test; arguments as in `kdprobe.evaluate`.

    Raises:
        UsageError: Arguments contradict each other, or a name does not exist.
        KdprobeError: A model, the problems or a task cannot be read.
    """
    from kdprobe.evaluation.engines.engine import BUILT_IN
    from kdprobe.experiment.evaluations.models import eval_request, local_eval_stages, local_students
    from kdprobe.experiment.evaluations.served import ServedModel, served_eval_stage
    from kdprobe.experiment.evaluations.tasks import local_task_stages, served_task_stage
    from kdprobe.models.adapters import named_adapters
    from kdprobe.models.devices.placement import named_placement
    from kdprobe.models.reference import resolve
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.students.student import Student

    here = model_type == HUGGING_FACE
    if not here and engine.name != BUILT_IN:
        raise UsageError(
            f"--engine is for models that kdprobe runs itself, but lm-eval runs those of the type {model_type!r}.",
            "Remove --engine or --model-type.",
        )
    placement = named_placement(device_map)
    if placement and not (here and engine.name == BUILT_IN):
        raise UsageError(
            "--device-map is for models that transformers runs.",
            f"Remove --device-map or {'--engine' if here else '--model-type'}.",
        )
    if here and model_args:
        raise UsageError("--model-args applies only to model types other than hf.", "Set --model-type.")
    if not here and (adapters or with_base or revision):
        raise UsageError("--adapter, --with-base and --revision are for models that run locally.", "Use --model-args.")
    if not here and quantization:
        raise UsageError("--quantization is for models that run locally.", "Use --model-args.")

    def request() -> tuple[ProblemSource | None, EvalRequest | None]:
        if source is None:
            return None, None
        given = source()
        return given, eval_request(given.source, given.name, limit, protocol, conversation, finite=given.finite)

    if not here:
        served = ServedModel(model, model_type, model_args, None if batch_size is None else str(batch_size))
        given, asked = request()
        stages = {served.name: served_eval_stage(served, asked)} if asked else {}
        others = {task.choice.name: {served.name: served_task_stage(served, task, conversation)} for task in tasks()}
        return Evaluations(stages, {}, {}, asked.problems if asked else (), given, others)
    # Models first, since problems may have to be downloaded.
    base = replace(resolve(model, revision, quantization), placement=placement)
    named, bases = named_adapters(adapters), SharedBases()
    records = local_students(base, named, with_base=with_base)
    given, asked = request()
    stages = local_eval_stages(base, records, asked, bases, engine) if asked else {}
    others = local_task_stages(
        base,
        records,
        tasks(),
        bases,
        engine,
        conversation=conversation,
        dtype=protocol.dtype,
        batch_size=protocol.batch_size,
    )
    _refuse_unheard(conversation, asked, others)
    base, students = replace(base, conversation=conversation), {}
    for name, adapter in records.items():
        students[name] = Student(name, base, adapter.path, adapter.caution) if adapter else Student(name, base)
    digests = {name: adapter.digest if adapter else None for name, adapter in records.items()}
    return Evaluations(stages, students, digests, asked.problems if asked else (), given, others)


def _refuse_unheard(
    conversation: Conversation, asked: EvalRequest | None, tasks: Mapping[str, Mapping[str, Stage]]
) -> None:
    """Rejects conversation settings if no task uses a chat template; the deciding task checks its own."""
    heard = asked or any(stage.settings.get("chat_template") for stages in tasks.values() for stage in stages.values())
    if not heard and conversation.instructs:
        raise UsageError(
            f"No chat template is used for {enumerated(list(tasks))}, so a system message or template arguments would "
            "have no effect.",
            "Leave them out, or evaluate from Python, where a task can set chat_template to True.",
        )


def _batch_size(size: int | str | None) -> int | Literal["auto"]:
    text = str(size)
    if size is None or text == "auto":
        return "auto"
    if isinstance(size, bool) or not text.isdecimal() or not int(text):
        raise UsageError(f"The batch size must be 'auto' or a positive integer, not {text!r}.", "Correct --batch-size.")
    return int(text)
