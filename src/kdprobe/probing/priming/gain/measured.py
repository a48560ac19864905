"""Predicted and realised changes of log p(gold), and how they are associated."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.priming.gain.predicted import GoldLogP, Measure
from kdprobe.problems.problem import Problem
from kdprobe.stats.clustered import ClusteredMean, Groups, clustered_mean
from kdprobe.stats.crossed import crossed_estimate, half_width
from kdprobe.stats.intervals import NO_INTERVAL, Interval
from kdprobe.stats.least import FEWEST_SEEDS
from kdprobe.stats.stratified_ranks import RankCorrelation, stratified_spearman

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """What one strategy's priming changed, in one student or in all students of the strategy.

    Attributes:
        name: The student's name, or the strategy's.
        strategy: The strategy.
        sees_gold: Whether the teacher's prompts depend on the gold solutions.
        problems: The test problems.
        predicted: The change of the teacher's log p(gold), primed minus bare, `[problem]`, in nats, by measure.
        students: The students' own log p(gold), one row per seed.
        references: That of the unprimed students with the same seeds.
    """

    name: str
    strategy: str
    sees_gold: bool
    problems: Sequence[Problem]
    predicted: GoldLogP
    students: Sequence[GoldLogP]
    references: Sequence[GoldLogP]

    @property
    def combined(self) -> bool:
        """Whether these are several seeds."""
        return len(self.students) > 1

    @property
    def groups(self) -> list[str] | None:
        """Each problem's template; `None` if unknown, if there is only one, or if each has one problem."""
        groups = [problem.group for problem in self.problems if problem.group is not None]
        known = len(groups) == len(self.problems) and 1 < len(set(groups)) < len(groups)
        return groups if known else None

    def realised(self, measure: Measure) -> Array:
        """The students' log p(gold) minus that of the unprimed students, `[seed, problem]`, in nats."""
        return _rows(self.students, measure) - _rows(self.references, measure)

    def correlation(self, measure: Measure) -> RankCorrelation:
        """Spearman's correlation of predicted and realised changes within templates."""
        return stratified_spearman(self.predicted[measure], self.realised(measure), self.groups)

    def predicted_mean(self, measure: Measure) -> ClusteredMean:
        """The mean predicted change, with its interval over templates (or problems)."""
        return self._mean(self.predicted[measure])

    def realised_mean(self, measure: Measure) -> ClusteredMean:
        """The mean realised change, with its interval over templates (or problems) and seeds, if there are several."""
        if not self.combined or len(self.problems) == 1:
            return self._mean(self.realised(measure).mean(axis=0))
        students, references = (_rows(rows, measure) for rows in (self.students, self.references))
        estimate = crossed_estimate(students, references, Groups(self._units))
        value, error = float(estimate.difference), float(estimate.error)
        half = half_width(estimate, error)
        return ClusteredMean(value, error, Interval(value - half, value + half))

    @property
    def _units(self) -> Sequence[Hashable]:
        return self.groups or range(len(self.problems))

    def _mean(self, values: Array) -> ClusteredMean:
        if len(self.problems) == 1:
            return ClusteredMean(float(values.mean()), np.nan, NO_INTERVAL)
        grouping = Groups(self._units)
        return clustered_mean(grouping.sums(values), grouping.sizes)


def gains_of(
    strategy: str,
    *,
    sees_gold: bool,
    problems: Sequence[Problem],
    predicted: GoldLogP,
    students: Mapping[int, tuple[str, GoldLogP]],
    references: Mapping[int, GoldLogP],
) -> list[Gain]:
    """A strategy's students with an unprimed student of the same seed; last, all of them, if there are three or more.

    Args:
        strategy: The strategy.
        sees_gold: As for `Gain`.
        problems: The test problems.
        predicted: As for `Gain`.
        students: Name and log p(gold) of the strategy's students by seed.
        references: Log p(gold) of the unprimed students by seed.
    """
    seeds = [seed for seed in students if seed in references]
    shared = (strategy, sees_gold, problems, predicted)
    single = [Gain(students[seed][0], *shared, [students[seed][1]], [references[seed]]) for seed in seeds]
    if len(seeds) < FEWEST_SEEDS:
        return single
    together = Gain(strategy, *shared, [students[seed][1] for seed in seeds], [references[seed] for seed in seeds])
    return [*single, together]


def shown(gains: Sequence[Gain]) -> list[Gain]:
    """What sentences and figures show: strategies with at least three seeds, and each student of any other."""
    combined = {gain.strategy for gain in gains if gain.combined}
    return [gain for gain in gains if gain.combined or gain.strategy not in combined]


def _rows(students: Sequence[GoldLogP], measure: Measure) -> Array:
    return np.stack([each[measure] for each in students])
