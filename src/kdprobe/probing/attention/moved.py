"""Paired differences between students, head by head, and which heads moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.attention.threshold import Threshold
from kdprobe.probing.labels import Head, head_label
from kdprobe.probing.metrics.measure import Measured
from kdprobe.stats.bootstrap import Means, means_over_problems
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.stats.permutations.max_t import max_t

Array = NDArray[np.float64]

_NAMED = 3
"""Heads that a sentence names."""


@dataclass(frozen=True)
class Comparison:
    """One arm compared with one student on identical tokens, on one metric.

    Attributes:
        arm: The arm; if it has several seeds, the mean of its students is compared.
        against: The student it is compared with.
        metric: The metric.
        effect: Mean difference over problems, `[layer, head]`, with its interval over problems.
        p: P of the sign-flip test, over problems only, adjusted over all heads; NaN without a test.
        problems: The number of problems.
    """

    arm: str
    against: str
    metric: str
    effect: Means
    p: Array
    problems: int

    @property
    def decidable(self) -> bool:
        """Whether a head could count as moved; with one problem there is no test, with few p cannot be small enough."""
        return self.problems == 1 or self.problems >= FEWEST_PROBLEMS


def compare(
    measured: Measured, arms: Mapping[str, Sequence[str]], metrics: Sequence[str], *, permutations: int, seed: int
) -> list[Comparison]:
    """Compares arms with the first student on every metric.

    Args:
        measured: Students with the same tokens, layers and heads.
        arms: Each arm's students, without the first student of all.
        metrics: The metrics.
        permutations: Number of permutations of the test.
        seed: Seed of everything drawn at random.
    """
    against = next(iter(measured))
    comparisons = []
    for arm, members in arms.items():
        for metric in metrics:
            differences = np.mean([measured[name][metric] for name in members], axis=0) - measured[against][metric]
            effect = means_over_problems(differences, seed)
            p = _p(differences, permutations, seed)
            comparisons.append(Comparison(arm, against, metric, effect, p, len(differences)))
    return comparisons


def effects(measured: Measured, metric: str) -> dict[str, Array]:
    """Each student's values, `[layer, head]`: the mean over problems."""
    return {name: means_over_problems(values[metric]).value for name, values in measured.items()}


def moved(comparison: Comparison, threshold: Threshold) -> list[Head]:
    """Heads that moved, by decreasing effect: the effect reaches the threshold, and p, if any, is small enough.

    A small p alone never makes a head moved: on identical tokens even the most trivial change is significant.
    """
    size = np.abs(comparison.effect.value)
    enough = (size >= threshold.value) & (size > 0) & ~(comparison.p > SIGNIFICANT)
    return [head for head in ranked(size) if enough[head]]


def ranked(values: Array) -> list[Head]:
    """Heads by decreasing value, `[layer, head]`; heads without a value come last."""
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), axis=None, kind="stable")
    layers, heads = np.unravel_index(order, values.shape)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


def moved_definition(comparisons: Sequence[Comparison], threshold: Threshold, unit: str) -> list[str]:
    """What counts as moved, in a sentence; none without a comparison."""
    return [
        f'"Moved" means that a head\'s {comparison.metric} changed by {threshold.sentence(unit)}'
        f"{_tested(comparison.problems)}. Such changes are observed differences, not causes."
        for comparison in comparisons[:1]
    ]


def moved_sentence(comparison: Comparison, threshold: Threshold, unit: str) -> str:
    """Which heads moved, if any, and the largest change."""
    heads = moved(comparison, threshold)
    value = comparison.effect.value
    spaced_unit = f" {unit}" if unit else ""

    def change(head: Head) -> str:
        low, high = comparison.effect.low[head], comparison.effect.high[head]
        interval = f", {low:+.3f} to {high:+.3f}" if np.isfinite(low) else ""
        return f"{head_label(*head)} ({value[head]:+.3f}{spaced_unit}{interval})"

    pair = f"{comparison.arm} against {comparison.against}"
    if not heads:
        largest = f"The largest change is in {change(ranked(np.abs(value))[0])}."
        if not comparison.decidable:
            return f"{pair}: {comparison.problems} problems are too few to tell whether a head moved. {largest}"
        return f"{pair}: no head moved. {largest}"
    changes = "; ".join(change(head) for head in heads[:_NAMED])
    lead = f"{len(heads)} of {value.size} heads moved"
    most = f"; the largest changes in {comparison.metric} are in " if len(heads) > _NAMED else ": "
    return f"{pair}: {lead}{most}{changes}."


def _tested(problems: int) -> str:
    if problems == 1:
        return "; there is only one prompt, so there is no test"
    if problems < FEWEST_PROBLEMS:
        return f"; with {problems} problems, p cannot reach {SIGNIFICANT:g}, so no head can count as moved"
    return f", and that p is at most {SIGNIFICANT:g} in a test over problems (not over seeds)"


def _p(differences: Array, permutations: int, seed: int) -> Array:
    """P of every head; NaN with one problem, and for heads without a value on a problem where others have one."""
    p = np.full(differences.shape[1:], np.nan)
    finite = np.isfinite(differences)
    problems = finite.any(axis=(1, 2))
    heads = finite[problems].all(axis=0)
    if problems.sum() > 1 and heads.any():
        p[heads] = max_t(differences[problems][:, heads], permutations=permutations, seed=seed)
    return p
