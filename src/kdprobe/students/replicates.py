"""Students as replicates of arms: students of one arm differ only in their training seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from kdprobe.errors import UsageError
from kdprobe.stats.least import FEWEST_SEEDS


class OfArm(Protocol):
    """Something that was measured of a student."""

    @property
    def arm(self) -> str:
        """The arm's name."""
        ...


Member = TypeVar("Member", bound=OfArm)


class Replicate(Protocol):
    """Something that belongs to an arm: a student, or a file of patterns."""

    @property
    def name(self) -> str:
        """Its unique name."""
        ...

    @property
    def arm(self) -> str:
        """The arm's name."""
        ...


def by_arm(replicates: Iterable[Replicate]) -> dict[str, list[str]]:
    """Names of the replicates of each arm, in order."""
    grouped: dict[str, list[str]] = {}
    for replicate in replicates:
        grouped.setdefault(replicate.arm, []).append(replicate.name)
    return grouped


def with_enough_seeds(members: Iterable[Member]) -> dict[str, list[Member]]:
    """The members of each arm, in order, of arms with enough seeds for an interval over seeds."""
    grouped: dict[str, list[Member]] = {}
    for member in members:
        grouped.setdefault(member.arm, []).append(member)
    return {arm: found for arm, found in grouped.items() if len(found) >= FEWEST_SEEDS}


def chosen(replicates: Sequence[Replicate], names: Sequence[str], analysis: str) -> list[str]:
    """The students to analyse, by name or by arm; all if none is named.

    Args:
        replicates: All replicates.
        names: Names of students or arms.
        analysis: The analysis.

    Raises:
        UsageError: There is no such student.
    """
    all_names = [replicate.name for replicate in replicates]
    members = {**by_arm(replicates), **{name: [name] for name in all_names}}
    if unknown := [name for name in names if name not in members]:
        raise UsageError(
            f"The analysis {analysis!r} names an unknown student {unknown[0]!r}.",
            f"Choose among {', '.join(all_names)} in its option `students`, or leave the option out to examine all.",
        )
    chosen_names = {member for name in names or all_names for member in members[name]}
    return [name for name in all_names if name in chosen_names]


def named_replicate(name: str) -> tuple[str, int]:
    """Arm and seed of a student, or of a file of patterns, that the command line names `ARM@SEED`.

    Any other name is an arm with a single student. This syntax exists only on the command line; everywhere else, arm
    and seed are fields.
    """
    arm, _, seed = name.rpartition("@")
    return (arm, int(seed)) if arm and seed.isdecimal() else (name, 0)
