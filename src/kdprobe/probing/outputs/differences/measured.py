"""What was measured of each pair of students, and its means over problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.outputs.differences.parts import SOLUTION, SOLUTION_PARTS, parts_of
from kdprobe.probing.outputs.differences.token_divergence import TokenDifferences
from kdprobe.stats.clustered import ClusteredMean, clustered_mean
from kdprobe.stats.crossed_means import crossed_mean
from kdprobe.students.replicates import with_enough_seeds
from kdprobe.students.sequence import ProblemSequence

Measure = Literal["js", "kl"]
MEASURES: tuple[Measure, ...] = ("js", "kl")
_FEWEST = 2


@dataclass(frozen=True)
class Text:
    """One problem as all students read it.

    Attributes:
        sequence: Its tokens.
        parts: The part of each token but the first, `[token]`.
    """

    sequence: ProblemSequence
    parts: NDArray[np.str_]

    def within(self, part: str) -> NDArray[np.bool_]:
        """Which tokens belong to a part, or to the whole solution, `[token]`."""
        return np.isin(self.parts, SOLUTION_PARTS if part == SOLUTION else [part])


@dataclass(frozen=True)
class Pair:
    """A student compared with another on all texts.

    Attributes:
        student: The student's name.
        arm: Its arm.
        seed: Its training seed.
        against: What it is compared with.
        against_untrained: Whether that is the untrained model.
        texts: The texts.
        differences: Those on each text, in the same order.
    """

    student: str
    arm: str
    seed: int
    against: str
    against_untrained: bool
    texts: Sequence[Text]
    differences: Sequence[TokenDifferences]

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What is reported: KL(untrained || student) has a direction, so between two students there is only JS."""
        return MEASURES if self.against_untrained else ("js",)

    @property
    def alike(self) -> bool:
        """Whether the two have exactly the same distribution at every token."""
        return not any(found.js.any() or found.kl.any() for found in self.differences)

    def totals(self, measure: Measure, part: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The sum over the tokens of a part, and their number, for each problem that has such tokens, `[problem]`."""
        chosen = [text.within(part) for text in self.texts]
        sums = [getattr(found, measure)[rows].sum() for found, rows in zip(self.differences, chosen, strict=True)]
        sizes = np.array([rows.sum() for rows in chosen], dtype=np.int64)
        return np.array(sums)[sizes > 0], sizes[sizes > 0]


@dataclass(frozen=True)
class Group:
    """One student, or all students of a strategy with at least three seeds, compared with the same model.

    Attributes:
        name: The student's name, or the strategy's.
        members: The pairs.
    """

    name: str
    members: Sequence[Pair]

    @property
    def combined(self) -> bool:
        """Whether these are several seeds."""
        return len(self.members) > 1

    @property
    def against(self) -> str:
        """What they are compared with."""
        return self.members[0].against

    @property
    def alike(self) -> bool:
        """Whether all of them have exactly the same distributions as what they are compared with."""
        return all(pair.alike for pair in self.members)

    def mean(self, measure: Measure, part: str) -> tuple[ClusteredMean, NDArray[np.int64]] | None:
        """The mean per token of a part with its interval, and the tokens of each problem; `None` without such tokens.

        The interval is over problems, whose tokens are not independent; if seeds are combined, over both.
        """
        totals = [pair.totals(measure, part) for pair in self.members]
        sizes = totals[0][1]
        if not len(sizes):
            return None
        if not self.combined:
            return clustered_mean(*totals[0]), sizes
        sums = np.stack([each for each, _ in totals])
        if len(sizes) < _FEWEST:
            return clustered_mean(sums.sum(axis=0), sizes * len(sums)), sizes
        return crossed_mean(sums, np.broadcast_to(sizes, sums.shape)), sizes


def texts_of(sequences: Sequence[ProblemSequence]) -> list[Text]:
    """The texts with the parts of their tokens."""
    return [Text(sequence, np.array(parts_of(sequence)[1:])) for sequence in sequences]


def students_of(pairs: Sequence[Pair]) -> list[Group]:
    """Every pair on its own."""
    return [Group(pair.student, [pair]) for pair in pairs]


def strategies_of(pairs: Sequence[Pair]) -> list[Group]:
    """The strategies with enough seeds for an interval over seeds, against the untrained model."""
    arms = with_enough_seeds(pair for pair in pairs if pair.against_untrained)
    return [Group(arm, members) for arm, members in arms.items()]


def shown(pairs: Sequence[Pair]) -> Iterator[Group]:
    """What sentences and figures show: strategies with at least three seeds, and each student of any other arm."""
    strategies = {group.name: group for group in strategies_of(pairs)}
    for group in students_of(pairs):
        pair = group.members[0]
        if pair.against_untrained and (strategy := strategies.get(pair.arm)):
            if pair is strategy.members[0]:
                yield strategy
        else:
            yield group
