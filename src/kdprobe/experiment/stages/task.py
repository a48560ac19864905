"""The stage in which a model does one of lm-eval's tasks besides the one that decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.evaluation.ledger import Ledger
from kdprobe.experiment.stages.absence import Records, records_or_absence
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.distill import trained_student
from kdprobe.experiment.stages.engine import ChosenEngine
from kdprobe.experiment.stages.environment import environment
from kdprobe.experiment.stages.stage import Stage, with_resources
from kdprobe.models.conversation import Conversation, template_digest
from kdprobe.students.student import Student

if TYPE_CHECKING:
    from kdprobe.evaluation.engines.engine import EngineStudent
    from kdprobe.evaluation.tasks.load import DrawnTask

FORMAT = 1
DOCUMENTS = "documents.parquet"


@with_resources("task")
def task_stage(context: StageContext, student: Student, distill: Stage | None, task: DrawnTask) -> Stage:
    """A student of an experiment does a task.

    Args:
        context: The experiment.
        student: The student, without its adapter.
        distill: Its training, or `None` for the untrained base.
        task: The task.
    """
    dtype = context.experiment.student.dtype
    largest = context.experiment.evaluation.batch_size

    def answer(inputs: list[Path], scratch: Path, label: str) -> Records:
        loaded = context.load(trained_student(student, inputs))
        return done(loaded, task, scratch, label=label, batch_size=largest)

    reads = reading_key(context.student_reader.tokenizer, context.experiment.conversation.conversation, task)
    return done_stage(
        student.name,
        task,
        identity={"student": context.student.as_key(), "dtype": dtype, "batch_size": largest, **reads},
        answer=answer,
        inputs=(distill,) if distill else (),
        engine=context.engine,
    )


def done_stage(
    name: str,
    task: DrawnTask,
    *,
    identity: Mapping[str, Any],
    answer: Callable[[list[Path], Path, str], Records],
    inputs: tuple[Stage, ...] = (),
    libraries: tuple[str, ...] = ("torch", "transformers", "peft", "lm-eval", "datasets"),
    engine: ChosenEngine | None = None,
) -> Stage:
    """A model does a task, and every answer is saved as it arrives; arguments as in `examination_stage`."""
    settings: dict[str, Any] = {
        "format": FORMAT,
        **identity,
        "task": task.choice.as_row(),
        "documents": task.digest,
        **({"plugin": dict(task.plugin)} if task.plugin else {}),
        "environment": environment(*libraries),
    }
    if engine:
        settings = engine.added_to(settings)

    def work(folder: Path, input_folders: list[Path], scratch: Path) -> None:
        import pandas as pd

        def asked() -> Records:
            return answer(input_folders, scratch, f"{task.choice.name}: {name}")

        if (records := records_or_absence(folder, input_folders, asked)) is not None:
            pd.DataFrame(records).to_parquet(folder / DOCUMENTS)

    return Stage("task", f"{task.choice.name} {name}", settings, inputs, work, task.size)


def done(student: EngineStudent, task: DrawnTask, scratch: Path, *, label: str, batch_size: int | str) -> Records:
    """A student does a task; `batch_size` is the largest, or `auto`."""
    from kdprobe.evaluation.tasks.run import do_task

    largest = batch_size if isinstance(batch_size, int) else None
    return do_task(student, task, label=label, ledger=Ledger(scratch / "answers.jsonl"), largest_batch=largest)


def reading_key(tokenizer: Any, conversation: Conversation, task: DrawnTask) -> dict[str, Any]:
    """What determines a student's prompts besides the task and the tokenizer's files.

    Raises:
        UsageError: `chat_template` is set for the task, but the tokenizer has none.
    """
    if not task.as_chat(has_template=bool(tokenizer.chat_template)):
        return {"chat_template": None}
    return {"chat_template": template_digest(tokenizer), "conversation": conversation.as_key()}
