"""What the lens showed of each student, and its means over problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.outputs.differences.measured import Text
from kdprobe.probing.outputs.lens.streams import LayerValues
from kdprobe.stats.clustered import ClusteredMean, clustered_mean
from kdprobe.stats.crossed_means import crossed_mean
from kdprobe.stats.permutations.max_t import max_t
from kdprobe.students.replicates import with_enough_seeds

Measure = Literal["log_p", "kl"]
MEASURES: tuple[Measure, ...] = ("log_p", "kl")
Array = NDArray[np.float64]
_FEWEST = 2


@dataclass(frozen=True)
class LensedStudent:
    """A student on all texts.

    Attributes:
        student: Its name.
        arm: Its arm.
        texts: The texts.
        values: What the lens showed on each, in the same order.
    """

    student: str
    arm: str
    texts: Sequence[Text]
    values: Sequence[LayerValues]

    @property
    def layers(self) -> int:
        """The number of layers."""
        return len(self.values[0].kl)

    def totals(self, measure: Measure, part: str) -> tuple[Array, NDArray[np.int64]]:
        """Sums over a part's tokens, `[problem, layer]`, and their numbers, for problems that have such tokens."""
        sums, sizes = [], []
        for text, found in zip(self.texts, self.values, strict=True):
            rows = text.within(part)[text.sequence.begin - 1 :]
            if size := int(rows.sum()):
                sums.append(getattr(found, measure)[:, rows].sum(axis=1))
                sizes.append(size)
        return np.array(sums), np.array(sizes, dtype=np.int64)


@dataclass(frozen=True)
class Group:
    """One student, or all students of a strategy with at least three seeds.

    Attributes:
        name: The student's name, or the strategy's.
        members: The students.
    """

    name: str
    members: Sequence[LensedStudent]

    @property
    def combined(self) -> bool:
        """Whether these are several seeds."""
        return len(self.members) > 1

    @property
    def layers(self) -> int:
        """The number of layers."""
        return self.members[0].layers

    def totals(
        self, measure: Measure, part: str, against: LensedStudent | None = None
    ) -> tuple[Array, NDArray[np.int64]]:
        """Sums of each member, `[member, problem, layer]`, minus those of another student, and numbers of tokens."""
        totals = [member.totals(measure, part) for member in self.members]
        sums = np.stack([each for each, _ in totals])
        return sums - against.totals(measure, part)[0] if against else sums, totals[0][1]

    def means(self, measure: Measure, part: str, against: LensedStudent | None = None) -> list[ClusteredMean]:
        """The mean per token after each layer; intervals are over problems and, if combined, over seeds.

        Args:
            measure: The measure.
            part: The part of the solution.
            against: A student to subtract, problem by problem, with as many layers.
        """
        sums, sizes = self.totals(measure, part, against)
        layers = range(sums.shape[-1]) if len(sizes) else range(0)
        if self.combined and len(sizes) >= _FEWEST:
            return [crossed_mean(sums[..., layer], np.broadcast_to(sizes, sums.shape[:2])) for layer in layers]
        return [clustered_mean(sums[..., layer].mean(axis=0), sizes) for layer in layers]

    def p(self, measure: Measure, part: str, against: LensedStudent, seed: int) -> NDArray[np.floating[Any]]:
        """Tests the difference after each layer: sign flips over problems, adjusted for all layers, `[layer]`."""
        sums, sizes = self.totals(measure, part, against)
        return max_t(sums.mean(axis=0) / sizes[:, None], seed=seed)


def students_of(students: Sequence[LensedStudent]) -> list[Group]:
    """Every student on its own."""
    return [Group(student.student, [student]) for student in students]


def strategies_of(students: Sequence[LensedStudent]) -> list[Group]:
    """The strategies with enough seeds for an interval over seeds."""
    return [Group(arm, members) for arm, members in with_enough_seeds(students).items()]


def shown(students: Sequence[LensedStudent]) -> list[Group]:
    """What sentences and figures show: strategies with at least three seeds, and each student of any other arm."""
    strategies = {group.name: group for group in strategies_of(students)}
    groups = [strategies.get(student.arm) or Group(student.student, [student]) for student in students]
    return list({group.name: group for group in groups}.values())
