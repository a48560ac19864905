"""What students answered, and which of them are compared with which, on what problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from kdprobe.comparison.answers import Outputs
from kdprobe.errors import KdprobeError
from kdprobe.problems.draw import normalised

ALL_PAIRS = "all pairs"
AGAINST_UNTRAINED = "distilled against untrained"
AGAINST_FINE_TUNED = "distilled against fine-tuned"
PRIMED = "primed against unprimed"


@dataclass(frozen=True)
class Arm:
    """What one student answered.

    Attributes:
        name: Unique within a comparison.
        outputs: Its answers.
        strategy: Its teacher's strategy, or `None` where there is none or it is not known.
        distiller: Its distiller, or `None`.
        seed: Of its training.
        unprimed: Whether its teacher read the bare question: the strategy's role, whatever it is called.
    """

    name: str
    outputs: Outputs
    strategy: str | None = None
    distiller: str | None = None
    seed: int = 0
    unprimed: bool = False

    @property
    def control(self) -> bool:
        """Whether no teacher's strategy is known of it."""
        return self.strategy is None


Families = Mapping[str, Sequence[tuple[Arm, Arm]]]
"""Name of a family to its pairs."""


def with_common_keys(arms: Sequence[Arm]) -> Sequence[Arm]:
    """Arms that all go by ids, or all by questions, where that is possible."""
    if all(arm.outputs.ids for arm in arms) or not all(arm.outputs.questions for arm in arms):
        return arms
    return [replace(arm, outputs=replace(arm.outputs, ids=None)) for arm in arms]


def refuse_doubles(arm: Arm) -> None:
    """Refuses an arm with two answers to one problem.

    Raises:
        KdprobeError: There is such a problem.
    """
    key, count = Counter(arm.outputs.keys).most_common(1)[0]
    if count > 1:
        raise KdprobeError(
            f"{arm.outputs.file} answers the problem {key[:60]!r} {count} times.",
            "Answers are paired by problem: name a column of unique ids with --id-column, or split the file.",
        )


def shared_keys(a: Arm, b: Arm) -> list[str]:
    """The problems that both answer, in the order of a.

    Raises:
        KdprobeError: There is none, or what goes by one id is another question in each.
    """
    other_keys = set(b.outputs.keys)
    keys = [key for key in a.outputs.keys if key in other_keys]
    if not keys:
        raise KdprobeError(
            f"{a.outputs.file} and {b.outputs.file} share no problem.",
            "They are paired by id, else by question; name the column with --id-column.",
        )
    questions, other_questions = _questions(a), _questions(b)
    # One may hold the question within a prompt.
    if (
        questions
        and other_questions
        and not any(questions[k] in other_questions[k] or other_questions[k] in questions[k] for k in keys)
    ):
        raise KdprobeError(
            f"{a.outputs.file} and {b.outputs.file} have the same ids for different questions.",
            "Compare answers to the same problems.",
        )
    return keys


def _questions(arm: Arm) -> dict[str, str] | None:
    if arm.outputs.questions is None:
        return None
    return dict(zip(arm.outputs.keys, map(normalised, arm.outputs.questions), strict=True))


def shared_groups(arm: Arm, keys: Sequence[str]) -> list[str] | None:
    """The groups of problems, or `None` where they are not known, are all one, or hold one problem each."""
    if arm.outputs.groups is None:
        return None
    group_of = dict(zip(arm.outputs.keys, arm.outputs.groups, strict=True))
    groups = [group_of[key] for key in keys]
    return groups if 1 < len(set(groups)) < len(groups) else None


def families(arms: Sequence[Arm]) -> Families:
    """The pairs that an experiment plans; all of them where no strategy is known.

    Distilled arms meet each control. Every primed arm meets every unprimed one, and Holm's adjustment counts all these
    pairs; unprimed arms do not meet each other, for neither is primed.
    """
    distilled = [arm for arm in arms if not arm.control]
    untrained = [arm for arm in arms if arm.control and arm.distiller is None]
    tuned = [arm for arm in arms if arm.control and arm.distiller is not None]
    primed = [arm for arm in distilled if not arm.unprimed]
    unprimed = [arm for arm in distilled if arm.unprimed]
    planned = {
        AGAINST_UNTRAINED: [(arm, control) for arm in distilled for control in untrained],
        AGAINST_FINE_TUNED: [(arm, control) for arm in distilled for control in tuned if control.seed == arm.seed],
        PRIMED: [
            (arm, other)
            for arm in primed
            for other in unprimed
            if (arm.distiller, arm.seed) == (other.distiller, other.seed)
        ],
    }
    return {name: pairs for name, pairs in planned.items() if pairs} or {ALL_PAIRS: list(combinations(arms, 2))}
