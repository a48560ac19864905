"""The control of `heads`: how many heads random updates of a student's size move, by the very same rule.

Any change to the weights changes attention, so the number of heads that moved is evidence of learning only if updates
of the same size that learned nothing move fewer. Each of them is put in place of the student's own, and read on the
same problems. For an arm with several seeds, each draw is the mean over as many random updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdprobe.console import progress
from kdprobe.models.merging.files import adapter_methods
from kdprobe.probing.analysis import AnalysisContext
from kdprobe.probing.attention.moved import Comparison, count_moved, moved
from kdprobe.probing.attention.threshold import Threshold
from kdprobe.probing.metrics.metric import HeadMetric
from kdprobe.probing.options import HeadsOptions
from kdprobe.stats.p_values import FEWEST_DRAWS, SIGNIFICANT, p_text
from kdprobe.students.replicates import by_arm
from kdprobe.students.student import Student
from kdprobe.words import counted

Array = NDArray[np.float64]
Lack = Literal["no update", "other base", "no factors"]
"""Why an arm has no control."""


@dataclass(frozen=True)
class Control:
    """How many heads an arm moved, and how many its random updates did.

    Attributes:
        arm: The arm.
        against: The student that it and its random updates are compared with.
        heads: The number of heads of a student.
        own: How many of them the arm moved.
        counts: How many each draw of random updates moved, `[draw]`.
        seeds: The arm's students, whose differences are averaged; in each draw, every one has a random update.
    """

    arm: str
    against: str
    heads: int
    own: int
    counts: NDArray[np.int64]
    seeds: int = 1

    @property
    def p(self) -> float:
        """The share of updates, including the arm's own, that moved at least as many heads.

        If the arm's directions were random too, p would be at most x with a probability of at most x.
        """
        return float((1 + (self.counts >= self.own).sum()) / (1 + len(self.counts)))

    @property
    def is_beyond(self) -> bool | None:
        """Whether the arm moved more heads than its random updates; `None` if these are too few to tell."""
        return None if len(self.counts) < FEWEST_DRAWS else self.p <= SIGNIFICANT

    @property
    def sentence(self) -> str:
        """How the two compare."""
        draws, reached = len(self.counts), int((self.counts >= self.own).sum())
        least, most = int(self.counts.min()), int(self.counts.max())
        spread = f"{self.counts.mean():.1f} of {self.heads} heads on average (range {least} to {most})"
        if draws == 1:
            spread = f"{least} of {self.heads} heads"
        drawn, updates, its = counted(draws, "random update"), "random updates", "the student's own update"
        if self.seeds > 1:
            drawn = f"{counted(draws, 'draw')} of {self.seeds} {updates}"
            updates, its = "draws", f"the {self.seeds} students' own updates"
        start = f"{self.arm}: {drawn} of the same size moved {spread}"
        if self.is_beyond is None:
            return f"{start}; {its} moved {self.own}. A test needs at least {FEWEST_DRAWS} {updates}."
        if not self.own:
            return f"{start}; {its} moved none."
        of_them = f"{reached} of them moved at least" if reached else "none of them moved"
        smallest = f", the smallest that {draws} {updates} can give" if not reached else ""
        size = "does not explain" if self.is_beyond else "could explain"
        compared = f"{of_them} as many heads as {its} did ({self.own}), so size alone {size} that number"
        return f"{start}; {compared} (p = {p_text(self.p)}{smallest})."


@dataclass(frozen=True)
class Controls:
    """The controls of all arms.

    Attributes:
        of_arm: The control of each arm that has one.
        notes: Why other arms have none, and whose random updates have the same norm alone, in sentences.
    """

    of_arm: Mapping[str, Control]
    notes: Sequence[str]

    @property
    def definition(self) -> list[str]:
        """What random updates are, in a sentence; none without a control."""
        sentence = (
            "Random updates show how many heads move even when nothing is learned. In every layer that training "
            "changed, the student's update is replaced by one in random directions with the same singular values, and "
            "therefore the same norm and rank. The heads that move are counted by the same rule, on the same problems."
        )
        return [sentence] if self.of_arm else []

    @property
    def table(self) -> dict[str, pd.DataFrame]:
        """A row per arm and draw; no table without a control."""
        rows = [
            {"student": control.arm, "against": control.against, "draw": draw, "moved": int(count)}
            for control in self.of_arm.values()
            for draw, count in enumerate(control.counts)
        ]
        return {"random_updates": pd.DataFrame(rows)} if rows else {}

    @property
    def summary(self) -> dict[str, dict[str, object]]:
        """As in JSON output."""
        return {
            arm: {"moved": control.own, "random_updates": control.counts.tolist(), "p": control.p}
            for arm, control in self.of_arm.items()
        }

    def sentences(self, arm: str) -> list[str]:
        """The sentence about an arm, if it has a control."""
        return [self.of_arm[arm].sentence] if arm in self.of_arm else []


def control(
    comparison: Comparison, threshold: Threshold, draws: Sequence[Array], options: HeadsOptions, seed: int
) -> Control:
    """Counts the heads that random updates moved, by the same rule as those of the comparison.

    Args:
        comparison: The arm, compared with a student.
        threshold: The effect at which a head counts as moved.
        draws: For each draw, the random updates' differences from that student, `[problem, layer, head]`.
        options: The number of permutations.
        seed: Of the permutations.
    """
    counts = [count_moved(draw, threshold, permutations=options.permutations, seed=seed) for draw in draws]
    own = len(moved(comparison, threshold))
    return Control(comparison.arm, comparison.against, comparison.p.size, own, np.array(counts))


def controls(
    context: AnalysisContext,
    comparisons: Sequence[Comparison],
    threshold: Threshold,
    *,
    metric: HeadMetric,
    values: Mapping[str, Array],
    options: HeadsOptions,
) -> Controls:
    """The controls of all arms whose heads can be told to have moved.

    Args:
        context: The students.
        comparisons: Each arm compared with the first student, on the metric.
        threshold: The effect at which a head counts as moved.
        metric: The metric.
        values: Its values, `[problem, layer, head]`, for all students compared, the first student first.
        options: The number of draws and of permutations.
    """
    tested = [comparison for comparison in comparisons if comparison.decidable]
    if not tested:
        return Controls({}, [])
    if context.patterns:
        return Controls({}, ["Pattern files contain no weights, so there are no random updates to compare with."])
    if not options.control:
        sentence = (
            "Random weight updates of the same size as a student's own were not tried; to count how many heads they "
            "would move, set the option `control`."
        )
        return Controls({}, [sentence])
    first, *others = [student for student in context.students if student.name in values]
    arms = by_arm(others)
    lacks = {comparison.arm: _lack(context, arms[comparison.arm], first) for comparison in tested}
    found = {}
    for comparison in tested:
        if lacks[comparison.arm] is None:
            members = arms[comparison.arm]
            drawn = _drawn(context, members, metric, options.control)
            differences = [draw - values[first.name] for draw in drawn]
            one = control(comparison, threshold, differences, options, context.seed)
            found[comparison.arm] = replace(one, seeds=len(members))
    return Controls(found, [*_dora_sentences(context, {arm: arms[arm] for arm in found}), *_sentences(lacks)])


def _lack(context: AnalysisContext, members: Sequence[str], first: Student) -> Lack | None:
    """Why there are no random updates for an arm, or `None` if there are."""
    students = [context.bridges.students[name] for name in members]
    same_base = all(student.base.weights == first.base.weights for student in students)
    trained = any(student.adapter is not None for student in students)
    if not trained and same_base:
        return "no update"
    if first.adapter is not None or (trained and not same_base):
        return "other base"
    return None if all(context.bridges.has_factors(name) for name in members) else "no factors"


def _sentences(lacks: Mapping[str, Lack | None]) -> list[str]:
    """Why arms have no random updates; nothing is said of an untrained student."""
    reasons: dict[Lack | None, str] = {
        "other base": "the student is not compared with the model that it was trained from.",
        "no factors": "the student's update is not a separate LoRA (the student is a whole model, or has another kind "
        "of adapter), so replacing it would need a second copy of the model.",
    }
    return [f"{arm}: no random updates, because {reasons[lack]}" for arm, lack in lacks.items() if lack in reasons]


def _dora_sentences(context: AnalysisContext, arms: Mapping[str, Sequence[str]]) -> list[str]:
    """Which arms were trained with DoRA: its magnitudes change the weights beyond the rank of the factors."""
    adapters = {arm: [context.bridges.students[name].adapter for name in members] for arm, members in arms.items()}
    return [
        f"{arm}: trained with DoRA, whose learned magnitudes can raise the rank of the update above that of the LoRA. "
        "The random updates have the same norm as the student's own, but not the same singular values."
        for arm, folders in adapters.items()
        if any("DoRA" in adapter_methods(folder) for folder in folders if folder is not None)
    ]


def _drawn(context: AnalysisContext, members: Sequence[str], metric: HeadMetric, draws: int) -> list[Array]:
    """For each draw, the mean over an arm's members of the metric under their random updates."""
    from kdprobe.probing.patterns.stream import head_metrics

    sequences = context.sequences
    found: list[list[Array]] = [[] for _ in range(draws)]
    for name in members:
        with progress(f"Random updates of {name}", draws * len(sequences), unit="tok") as bar:
            for draw in range(draws):
                # Neither the order of the students nor that of the draws matters.
                with context.bridges.randomised(name, f"{context.seed} {name} {draw}") as student:
                    values = head_metrics(
                        student, sequences, {metric.name: metric}, batch_size=context.batch_size, bar=bar
                    )
                found[draw].append(values[metric.name])
    return [np.mean(values, axis=0) for values in found]
