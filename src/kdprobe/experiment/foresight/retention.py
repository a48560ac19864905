"""Whether the planned documents could show that students retain a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdprobe.comparison.finding import Finding
from kdprobe.experiment.config import Experiment
from kdprobe.experiment.foresight.power import ASSUMED_SHARES, POWER, TYPICAL_SHARE
from kdprobe.words import counted

if TYPE_CHECKING:
    from kdprobe.evaluation.tasks.load import DrawnTask


@dataclass(frozen=True)
class RetentionPower:
    """The probability that *retained* is shown for a student that lost nothing.

    Attributes:
        task: The task, group or tag.
        documents: Number of documents.
        margin: The largest loss that counts as retained.
        power: The probability, for each assumed share of documents that only one of the two students has right.
        needed: Documents needed for 80% at the typical share.
    """

    task: str
    documents: int
    margin: float
    power: dict[float, float]
    needed: int


def retention_power(experiment: Experiment, tasks: Sequence[DrawnTask]) -> list[RetentionPower]:
    """The power of each retention task, for metrics of right and wrong.

    Args:
        experiment: The experiment.
        tasks: Its tasks besides the deciding one, with their data.
    """
    margins = {task.name: task.margin for task in experiment.evaluation.benchmarks if task.role == "retention"}
    if not margins:
        return []
    from kdprobe.stats.paired import documents_to_retain, power_to_retain

    return [
        RetentionPower(
            task.name,
            task.size,
            margin,
            {share: power_to_retain(task.size, margin, share) for share in ASSUMED_SHARES},
            documents_to_retain(margin, TYPICAL_SHARE, POWER),
        )
        for task in tasks
        if (margin := margins.get(task.name)) is not None
    ]


def hopeless_retention(planned: Iterable[RetentionPower]) -> Iterator[Finding]:
    """Tasks that would hardly ever come out as retained, even if students lost nothing."""
    for task in planned:
        if task.power[TYPICAL_SHARE] < 0.5:  # noqa: PLR2004
            yield Finding(
                "low-retention-power",
                f"{counted(task.documents, 'document')} of {task.task} would show retention, with a margin of "
                f"{task.margin:g}, in only {task.power[TYPICAL_SHARE]:.0%} of cases, even if the student lost nothing.",
                f"Use {task.needed} documents or more, or a larger margin.",
            )
