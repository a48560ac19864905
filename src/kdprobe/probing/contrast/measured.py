"""What patching did in each student, and its means over problems, seeds and templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.contrast.pairs import ContrastPair
from kdprobe.probing.contrast.patched import Effects
from kdprobe.probing.contrast.sites import Site
from kdprobe.stats.clustered import ClusteredMean, clustered_mean
from kdprobe.stats.crossed_means import crossed_mean
from kdprobe.stats.intervals import NO_INTERVAL
from kdprobe.stats.p_values import ROUNDING
from kdprobe.stats.permutations.max_t import max_t
from kdprobe.students.replicates import with_enough_seeds

Array = NDArray[np.float64]
Measure = Literal["effect", "nats"]
MEASURES: tuple[Measure, ...] = ("effect", "nats")
_FEWEST = 2


@dataclass(frozen=True)
class ContrastedStudent:
    """A student on all pairs.

    Attributes:
        student: Its name.
        arm: Its arm.
        pairs: The pairs.
        sites: What was patched.
        effects: What that did, by pair.
    """

    student: str
    arm: str
    pairs: Sequence[ContrastPair]
    sites: Sequence[Site]
    effects: Sequence[Effects]

    @cached_property
    def clean(self) -> Array:
        """Log p of the clean minus that of the counterfactual answer in the clean run, `[pair]`."""
        return np.array([each.clean for each in self.effects])

    @cached_property
    def other(self) -> Array:
        """The same in the counterfactual run, `[pair]`."""
        return np.array([each.other for each in self.effects])

    @cached_property
    def nats(self) -> Array:
        """What patching changes it by, `[pair, site]`; NaN where a pair lacks the part of the text."""
        changes = np.array([each.changes for each in self.effects])
        return np.where(np.abs(changes) <= ROUNDING, 0.0, changes)

    @property
    def tells_apart(self) -> NDArray[np.bool_]:
        """Whether it prefers the clean answer in the clean run and the other in the counterfactual run, `[pair]`."""
        found: NDArray[np.bool_] = (self.clean > 0) & (self.other < 0)
        return found

    def values(self, measure: Measure) -> Array:
        """Effects in nats, or as a share of the difference between the two runs, `[pair, site]`."""
        if measure == "nats":
            return self.nats
        with np.errstate(divide="ignore", invalid="ignore"):
            shares: Array = self.nats / (self.other - self.clean)[:, None]
        return shares


@dataclass(frozen=True)
class Group:
    """One student, or all students of a strategy with at least three seeds.

    Attributes:
        name: The student's name, or the strategy's.
        members: The students.
        against: A student to subtract, pair by pair, with the same sites.
    """

    name: str
    members: Sequence[ContrastedStudent]
    against: ContrastedStudent | None = None

    @property
    def combined(self) -> bool:
        """Whether these are several seeds."""
        return len(self.members) > 1

    @property
    def sites(self) -> Sequence[Site]:
        """What was patched."""
        return self.members[0].sites

    def used(self, measure: Measure) -> NDArray[np.bool_]:
        """The pairs that enter a measure: shares exist where all students tell the two problems apart, `[pair]`."""
        students = [*self.members, *([self.against] if self.against else [])]
        if measure == "nats":
            return np.ones(len(students[0].pairs), dtype=bool)
        found: NDArray[np.bool_] = np.all([student.tells_apart for student in students], axis=0)
        return found

    @property
    def templates(self) -> list[str] | None:
        """Each pair's template; `None` if not all are known."""
        known = [pair.group for pair in self.members[0].pairs if pair.group is not None]
        return known if len(known) == len(self.members[0].pairs) else None

    def values(self, measure: Measure) -> Array:
        """The measure on these pairs, minus that of the student to subtract, `[member, pair, site]`."""
        used = self.used(measure)
        values = np.stack([member.values(measure)[used] for member in self.members])
        if self.against is None:
            return values
        differences = values - self.against.values(measure)[used]
        in_nats = 1 if measure == "nats" else self._smaller_gaps(self.against)[:, used, None]
        return np.where(np.abs(differences) * in_nats <= ROUNDING, 0.0, differences)

    def means(self, measure: Measure) -> list[tuple[ClusteredMean, ClusteredMean, int]]:
        """For each site: the mean over problems, the same with an interval over templates, and how many problems."""
        values = self.values(measure)
        groups = np.array(self.templates)[self.used(measure)] if self.templates else None
        return [self._mean(values[..., site], groups) for site in range(len(self.sites))]

    def p(self, measure: Measure, seed: int) -> Array:
        """Sign flips of each problem's difference, adjusted for all sites, `[site]`; NaN where nothing is tested."""
        differences = self.values(measure).mean(axis=0)
        tested = np.array([not site.fixed_by(self.members[0].pairs) for site in self.sites])
        found = np.full(len(tested), np.nan)
        if len(differences) and tested.any():
            # A problem that lacks the part of the text has no difference there.
            found[tested] = max_t(np.nan_to_num(differences[:, tested]), seed=seed)
        return found

    def _smaller_gaps(self, against: ContrastedStudent) -> Array:
        """The smaller of both students' differences between the runs, `[member, pair]`: it enlarges rounding errors."""
        gaps = np.abs(np.stack([each.other - each.clean for each in (*self.members, against)]))
        smaller: Array = np.minimum(gaps[:-1], gaps[-1])
        return smaller

    def _mean(self, values: Array, groups: NDArray[np.str_] | None) -> tuple[ClusteredMean, ClusteredMean, int]:
        known = np.isfinite(values[0])
        values = values[:, known]
        over_problems = _mean(values, np.ones(values.shape[1], dtype=np.int64))
        if groups is None:
            return over_problems, ClusteredMean(over_problems.value, np.nan, NO_INTERVAL), values.shape[1]
        names, index = np.unique(groups[known], return_inverse=True)
        sums = np.stack([np.bincount(index, row, minlength=len(names)) for row in values])
        sizes = np.bincount(index, minlength=len(names))
        return over_problems, _mean(sums, sizes), values.shape[1]


def students_of(students: Sequence[ContrastedStudent], against: ContrastedStudent | None = None) -> list[Group]:
    """Every student on its own, or its difference from another."""
    return [Group(student.student, [student], against) for student in students if _alike(student, against)]


def strategies_of(students: Sequence[ContrastedStudent], against: ContrastedStudent | None = None) -> list[Group]:
    """The strategies with enough seeds for an interval over seeds."""
    arms = with_enough_seeds(students)
    return [Group(arm, members, against) for arm, members in arms.items() if _alike(members[0], against)]


def shown(students: Sequence[ContrastedStudent], against: ContrastedStudent | None = None) -> list[Group]:
    """What sentences and figures show: strategies with at least three seeds, and each student of any other arm."""
    combined = {member.student for group in strategies_of(students) for member in group.members}
    groups = [*strategies_of(students, against), *students_of(students, against)]
    return [group for group in groups if group.combined or group.members[0].student not in combined]


def _alike(student: ContrastedStudent, against: ContrastedStudent | None) -> bool:
    return against is None or student.sites == against.sites


def _mean(sums: NDArray[Any], sizes: NDArray[Any]) -> ClusteredMean:
    """Over sums `[member, unit]`; a single member has intervals over units alone."""
    if not len(sizes):
        return ClusteredMean(np.nan, np.nan, NO_INTERVAL)
    if len(sums) == 1 or len(sizes) < _FEWEST:
        return clustered_mean(sums.mean(axis=0), sizes)
    return crossed_mean(sums, np.broadcast_to(sizes, sums.shape))
