"""Models and adapters answer problems outside of experiments, each in its own stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.evaluation.protocol import BARE, COMPLETION, Protocol, task_of
from kdprobe.experiment.stages.absence import Records
from kdprobe.experiment.stages.context import problems_digest
from kdprobe.experiment.stages.engine import ChosenEngine
from kdprobe.experiment.stages.evaluate import answers_of, examination_stage
from kdprobe.experiment.stages.stage import Stage
from kdprobe.models.adapters import AdapterRecord
from kdprobe.models.conversation import (
    PLAIN_CONVERSATION,
    Conversation,
    prompt_text,
    refuse_unread,
    template_digest,
    texts_digest,
)
from kdprobe.models.outline.device import concrete_dtype, default_device
from kdprobe.models.reference import ModelRecord, short_name
from kdprobe.models.turn import assistant_turn
from kdprobe.problems.draw import Source, first_problems
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import bare
from kdprobe.students.student import Student
from kdprobe.words import counted

if TYPE_CHECKING:
    from kdprobe.models.shared_bases import SharedBases

_MOST_SHOTS, _ENDLESS_SOURCE_SHOTS = 7_473, 64
"""How many transfer problems a few-shot task draws its examples from: all of GSM8K's training split, as in lm-eval's
own task, or a limited number if the source may be endless."""


@dataclass(frozen=True)
class EvalRequest:
    """What models are evaluated on, and how.

    Attributes:
        problems: The problems.
        shots: The problems a few-shot task takes its examples from; empty if it needs none.
        protocol: How models are evaluated; without a task, the bare question in the form the model expects.
        conversation: What chat templates get besides the messages.
    """

    problems: Sequence[Problem]
    shots: Sequence[Problem]
    protocol: Protocol
    conversation: Conversation = PLAIN_CONVERSATION


def eval_request(
    source: Source, name: str, limit: int | None, protocol: Protocol, conversation: Conversation, *, finite: bool
) -> EvalRequest:
    """Takes problems from a source.

    Args:
        source: The problems.
        name: The source's name: that of a plugin, or a file.
        limit: The number of test problems, from the first on; `None` takes all.
        protocol: How models are evaluated.
        conversation: What chat templates get besides the messages.
        finite: Whether the source is known to end.

    Raises:
        UsageError: The source needs a limit, or has no solved problems for a few-shot task.
        KdprobeError: The source has too few problems, or one of them twice.
    """
    if limit is None and not finite:
        raise UsageError(f"The problem source {name!r} may be endless.", "Set the number of problems with --limit.")
    shown = "_fewshot" in (protocol.task or "")
    shots = tuple(islice(source("transfer"), _MOST_SHOTS if finite else _ENDLESS_SOURCE_SHOTS)) if shown else ()
    return EvalRequest(_first(source, limit), shots, protocol, conversation)


def _first(source: Source, limit: int | None) -> tuple[Problem, ...]:
    problems = first_problems(source, limit)
    if limit is not None and len(problems) < limit:
        has = counted(len(problems), "problem")
        raise KdprobeError(f"The source has only {has}, but --limit is {limit}.", "Lower --limit.")
    return problems


def local_students(
    base: ModelRecord, adapters: Mapping[str, AdapterRecord], *, with_base: bool
) -> dict[str, AdapterRecord | None]:
    """The local models by name, each with its adapter or none.

    Args:
        base: The base model.
        adapters: Adapters by name.
        with_base: Whether to evaluate the base too; without adapters it is always evaluated.
    """
    base_name = base.name if short_name(base.name) in adapters else short_name(base.name)
    first: dict[str, AdapterRecord | None] = {base_name: None} if with_base or not adapters else {}
    return first | dict(adapters)


def local_eval_stages(
    base: ModelRecord,
    students: Mapping[str, AdapterRecord | None],
    request: EvalRequest,
    bases: SharedBases,
    engine: ChosenEngine,
) -> dict[str, Stage]:
    """A stage for each local model, in which it answers the problems of the deciding task.

    Args:
        base: The base model.
        students: The models, as from `local_students`.
        request: What they are evaluated on.
        bases: Loads the base when it is first needed.
        engine: Runs the students.

    Returns:
        Stages by name.
    """
    base = replace(base, conversation=request.conversation)
    dtype = concrete_dtype(request.protocol.dtype, default_device())
    shots = problems_digest(request.shots)

    @cache
    def asked(own_tokenizer_of: Path | None) -> tuple[Protocol, dict[str, Any]]:
        """How a student is evaluated, given its chat template, and which part of that determines its answers."""
        tokenizer = Student("", base, own_tokenizer_of).load_tokenizer()
        task = task_of(request.protocol, chat=bool(tokenizer.chat_template))
        refuse_unheard(task, request.conversation)
        refuse_unread(request.conversation, [tokenizer])
        told = {"conversation": request.conversation.as_key(), "shots": shots}
        return replace(request.protocol, task=task, dtype=dtype), _prompts_key(tokenizer, request, task) | told

    def stage(name: str, adapter: AdapterRecord | None) -> Stage:
        student = Student(name, base, adapter.path if adapter else None)
        protocol, identity = asked(student.reader[1])

        def answer(_made: list[Path], scratch: Path, label: str) -> Records:
            loaded = engine.load(student, dtype=dtype, bases=bases)
            return answers_of(loaded, request.problems, protocol, scratch, label=label, shots=request.shots)

        identity = {"student": base.as_key(), **identity, **({"adapter": adapter.digest} if adapter else {})}
        return examination_stage(
            name, request.problems, protocol, identity=identity, answer=answer, base=base, engine=engine
        )

    return {name: stage(name, adapter) for name, adapter in students.items()}


def _prompts_key(tokenizer: Any, request: EvalRequest, task: str) -> dict[str, Any]:
    """What determines the answers: the text of the prompts, or, if lm-eval adds examples, what renders them.

    Raises:
        KdprobeError: The chat template rejects a conversation of the task.
    """
    if task in BARE.values():
        prompts = [prompt_text(tokenizer, bare(problem)) for problem in request.problems]
        assistant_turn(tokenizer)
        return {"prompts": texts_digest(prompts)}
    if not task.endswith(COMPLETION):
        question = bare(request.problems[0])
        prompt_text(tokenizer, [*question, {"role": "assistant", "content": "An example."}, *question])
    return {"template": template_digest(tokenizer)}


def refuse_unheard(task: str, conversation: Conversation) -> None:
    """Rejects conversation settings that only a chat template can use if the task uses none."""
    if task.endswith(COMPLETION) and conversation.instructs:
        raise UsageError(
            f"The task {task} uses no chat template, so a system message or template arguments have no effect.",
            "Remove them, or use a task for chat models.",
        )
