"""A stage as its cost is predicted, what that follows from besides, and what is predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kdprobe.experiment.costs.lengths import TaskLengths, TextLengths
from kdprobe.experiment.costs.runner import Runner
from kdprobe.models.outline.room import Lengths
from kdprobe.models.outline.sizes import Sizes

Basis = Literal["like stages", "rate", "shapes"]


@dataclass(frozen=True)
class Piece:
    """A stage, planned or finished.

    Attributes:
        kind: Its kind.
        settings: Its settings.
        units: Problems, answers or examples that it works through.
        strategy: The teacher's strategy, or `None` if there is none or it is unknown.
        follows: Whether it reads what other stages wrote.
    """

    kind: str
    settings: Mapping[str, Any]
    units: int
    strategy: str | None = None
    follows: bool = False


@dataclass(frozen=True)
class Use:
    """What a stage takes.

    Attributes:
        read: Tokens of prompts and given texts that models read.
        written: Tokens that models write.
        seconds: Its duration.
        memory: Bytes on each device at its peak.
        disk: Bytes that it leaves in the store.
        runner: The model and its devices, or `None` if it needs none.
        batch: How many texts are in memory together.
        fixed: The part of the memory that does not depend on it.
    """

    read: float
    written: float
    seconds: float
    memory: float
    disk: float
    runner: Runner | None = None
    batch: int = 1
    fixed: float = 0


@dataclass(frozen=True)
class StageCost:
    """What a stage takes.

    Attributes:
        devices: The devices that it runs on, such as `H100 x 16`.
        tokens_read: Tokens of prompts and given texts, in all passes.
        tokens_written: Tokens of answers.
        seconds: Its duration.
        device_hours: The same times the number of devices; for a CPU, of cores.
        memory: Bytes on each device at the peak; on a CPU, of the process.
        disk: Bytes in the store.
        basis: What the duration follows from: finished `like stages`; the `rate` of finished stages of its kind with
            the same models; or only the `shapes` of the models and a table of devices.
        based_on: Number of these finished stages.
    """

    devices: str
    tokens_read: int
    tokens_written: int
    seconds: float
    device_hours: float
    memory: int
    disk: int
    basis: Basis
    based_on: int


@dataclass(frozen=True)
class Known:
    """Everything that the cost of a stage follows from, besides the stage and its devices.

    Attributes:
        student: The student's sizes.
        teacher: The teacher's, or `None` if they are unknown or nothing is asked of it.
        texts: Tokens of what models read.
        answer: Mean tokens of an answer of the teacher, at most those of the budget.
        student_answer: Likewise of a student.
        served: Requests at a time to a teacher behind a server, or `None` for one that runs in the stage.
        fused: Whether another engine than transformers runs students in evaluations.
        budgets: The largest number of tokens of an answer of the teacher, and of a student.
        fused_teacher: Whether another engine than transformers runs the teacher in the stage; it reads a given text as
            fast as it would write it.
        spread: Whether transformers spreads students over the devices in evaluations and analyses.
        spread_teacher: Likewise the teacher.
        shards: Processes among which the student's weights are divided in training.
        changes_mlps: Whether training changes MLPs, and not only attention.
        tasks: What is read and written for a document of each task, where that is known.
    """

    student: Sizes
    teacher: Sizes | None
    texts: TextLengths
    answer: float
    student_answer: float
    served: int | None
    fused: bool
    budgets: tuple[int, int]
    fused_teacher: bool = False
    spread: bool = False
    spread_teacher: bool = False
    shards: int = 1
    changes_mlps: bool = False
    tasks: Mapping[str, TaskLengths] = field(default_factory=dict)


def of_strategy(lengths: Mapping[str, Lengths], strategy: str | None) -> Lengths:
    """Those of a strategy, or of an average one if it is unknown."""
    if strategy is not None and strategy in lengths:
        return lengths[strategy]
    listed = [*lengths.values()]
    return Lengths(sum(each.mean for each in listed) / len(listed), max(each.longest for each in listed))
