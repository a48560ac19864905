"""Models do lm-eval's tasks outside of experiments, each model and task in a stage of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.errors import UsageError
from kdprobe.evaluation.ledger import Ledger
from kdprobe.experiment.evaluations.served import ServedModel
from kdprobe.experiment.stages.absence import Records
from kdprobe.experiment.stages.engine import ChosenEngine
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.stages.task import done, done_stage, reading_key
from kdprobe.models.adapters import AdapterRecord
from kdprobe.models.conversation import Conversation
from kdprobe.models.outline.device import concrete_dtype, default_device
from kdprobe.models.reference import Dtype, ModelRecord
from kdprobe.students.student import Student

if TYPE_CHECKING:
    from kdprobe.evaluation.tasks.load import DrawnTask
    from kdprobe.models.shared_bases import SharedBases


def local_task_stages(
    base: ModelRecord,
    students: Mapping[str, AdapterRecord | None],
    tasks: Sequence[DrawnTask],
    bases: SharedBases,
    engine: ChosenEngine,
    *,
    conversation: Conversation,
    dtype: Dtype,
    batch_size: int | str,
) -> dict[str, dict[str, Stage]]:
    """A stage for each local model and task.

    Args:
        base: The base model.
        students: The models by name, each with its adapter or none.
        tasks: The tasks.
        bases: Loads the base when it is first needed.
        engine: Runs the students.
        conversation: What chat templates get besides the messages.
        dtype: Data type of the weights.
        batch_size: The largest batch, or `auto`.

    Returns:
        Stages by task and model.
    """
    base, concrete = replace(base, conversation=conversation), concrete_dtype(dtype, default_device())

    def stage(name: str, adapter: AdapterRecord | None, task: DrawnTask) -> Stage:
        student = Student(name, base, adapter.path if adapter else None)

        def answer(_inputs: list[Path], scratch: Path, label: str) -> Records:
            loaded = engine.load(student, dtype=concrete, bases=bases)
            return done(loaded, task, scratch, label=label, batch_size=batch_size)

        identity: dict[str, Any] = {
            "student": base.as_key(),
            "dtype": concrete,
            "batch_size": batch_size,
            **reading_key(student.load_tokenizer(), conversation, task),
            **({"adapter": adapter.digest} if adapter else {}),
        }
        return done_stage(name, task, identity=identity, answer=answer, engine=engine)

    return {
        task.choice.name: {name: stage(name, adapter, task) for name, adapter in students.items()} for task in tasks
    }


def served_task_stage(served: ServedModel, task: DrawnTask, conversation: Conversation) -> Stage:
    """A stage in which a model run by another of lm-eval's model classes does a task.

    Args:
        served: The model.
        task: The task.
        conversation: What chat templates get besides the messages.

    Raises:
        UsageError: There are conversation settings, which only the deciding task passes on to servers.
    """
    if conversation.instructs:
        raise UsageError(
            f"In the task {task.choice.name!r}, kdprobe cannot pass a system message or template arguments to models "
            f"of type {served.model_type!r}.",
            "Leave them out, or evaluate a local model.",
        )

    def answer(_inputs: list[Path], scratch: Path, label: str) -> Records:
        from kdprobe.evaluation.tasks.recording import RecordedRequests
        from kdprobe.evaluation.tasks.run import run_task

        with served.explained():
            return run_task(
                served.recording(RecordedRequests),
                task,
                chat=task.as_chat(has_template=served.chats),
                label=label,
                ledger=Ledger(scratch / "answers.jsonl"),
            )

    identity = {**served.key, "chat": task.as_chat(has_template=served.chats)}
    return done_stage(served.name, task, identity=identity, answer=answer, libraries=(*served.libraries, "datasets"))
