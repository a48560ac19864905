"""Paired differences between students, head by head, and which heads moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.attention.threshold import Threshold
from kdprobe.probing.labels import Head, head_label
from kdprobe.probing.metrics.measure import Measured
from kdprobe.stats.bootstrap import Means, known_mean, means_over_problems
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.stats.permutations.max_t import max_t
from kdprobe.words import counted

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
        problems: The number of problems on which the metric is defined.
        differing: On how many of them each head differs, `[layer, head]`; 0 for heads that are not tested.
    """

    arm: str
    against: str
    metric: str
    effect: Means
    p: Array
    problems: int
    differing: NDArray[np.int64]

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
            p = p_over_problems(differences, permutations, seed)
            problems = int(np.isfinite(differences).any(axis=(1, 2)).sum())
            differing = np.where(np.isnan(p), 0, (np.nan_to_num(differences) != 0).sum(axis=0))
            comparisons.append(Comparison(arm, against, metric, effect, p, problems, differing))
    return comparisons


def effects(measured: Measured, metric: str) -> dict[str, Array]:
    """Each student's values, `[layer, head]`: the mean over problems."""
    return {name: means_over_problems(values[metric]).value for name, values in measured.items()}


def moved(comparison: Comparison, threshold: Threshold) -> list[Head]:
    """Heads that moved, by decreasing effect: the effect reaches the threshold, and p, if there is a test, is small.

    A small p alone never makes a head moved: on identical tokens even the most trivial change is significant.
    """
    effect = comparison.effect.value
    enough = _enough(effect, comparison.p, comparison.problems, threshold)
    return [head for head in ranked(np.abs(effect)) if enough[head]]


def count_moved(differences: Array, threshold: Threshold, *, permutations: int, seed: int) -> int:
    """The number of heads that moved, by the same rule, from the differences alone.

    Args:
        differences: `[problem, layer, head]`.
        threshold: The effect at which a head counts as moved.
        permutations: Number of permutations of the test.
        seed: Seed of the permutations.
    """
    problems = int(np.isfinite(differences).any(axis=(1, 2)).sum())
    p = p_over_problems(differences, permutations, seed)
    return int(_enough(known_mean(differences, 0), p, problems, threshold).sum())


def undecided(comparison: Comparison, threshold: Threshold) -> NDArray[np.bool_]:
    """Heads for which there is no way to tell whether they moved, `[layer, head]`: their p cannot be small enough.

    The smallest p of the test is that of its two most extreme sign patterns, however many heads there are: unlike
    Holm's method, max-T does not multiply it by their number. Only problems on which a head differs have a sign. With
    too few problems, this is so for all heads; otherwise for those with a large enough effect on too few problems.
    """
    effect = comparison.effect.value
    unknown: NDArray[np.bool_] = ~np.isfinite(effect)
    if comparison.problems == 1:
        return unknown
    if not comparison.decidable:
        return np.ones_like(unknown)
    return unknown | (_large(effect, threshold) & (comparison.differing < FEWEST_PROBLEMS))


def verdicts(comparison: Comparison, threshold: Threshold) -> NDArray[np.object_]:
    """Whether each head moved, `[layer, head]`: True, False, or None if there is no way to tell."""
    found = np.zeros(comparison.effect.value.shape, dtype=object)
    found[:] = False
    found[undecided(comparison, threshold)] = None
    for head in moved(comparison, threshold):
        found[head] = True
    return found


def ranked(values: Array) -> list[Head]:
    """Heads by decreasing value, `[layer, head]`; heads without a value come last."""
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), axis=None, kind="stable")
    layers, heads = np.unravel_index(order, values.shape)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


def moved_definition(comparisons: Sequence[Comparison], threshold: Threshold, unit: str) -> list[str]:
    """What counts as moved, in a sentence; none without a comparison."""
    return [
        f'"Moved" means that a head\'s {comparison.metric} changed by {threshold.sentence(unit)}'
        f"{_tested(comparison.problems)}. These are observed differences, not evidence of causation."
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

    pair = f"{comparison.arm} compared with {comparison.against}"
    if not comparison.problems:
        return f"{pair}: {comparison.metric} is not defined on any problem, so no head can be tested."
    if not heads:
        largest = f"The largest change is in {change(ranked(np.abs(value))[0])}."
        if not comparison.decidable:
            few = counted(comparison.problems, "problem is", "problems are")
            return f"{pair}: {few} too few to tell whether a head moved. {largest}"
        return f"{pair}: no head moved.{_untold(comparison, threshold, 'head')} {largest}"
    changes = "; ".join(change(head) for head in heads[:_NAMED])
    lead = f"{len(heads)} of {value.size} heads moved"
    most = f". The largest changes in {comparison.metric} are in " if len(heads) > _NAMED else ": "
    return f"{pair}: {lead}{most}{changes}.{_untold(comparison, threshold, 'other head')}"


def _enough(effect: Array, p: Array, problems: int, threshold: Threshold) -> NDArray[np.bool_]:
    significant: NDArray[np.bool_] = (p <= SIGNIFICANT) | (problems == 1)
    return significant & _large(effect, threshold)


def _large(effect: Array, threshold: Threshold) -> NDArray[np.bool_]:
    size = np.abs(effect)
    large: NDArray[np.bool_] = (size >= threshold.value) & (size > 0)
    return large


def _untold(comparison: Comparison, threshold: Threshold, noun: str) -> str:
    """How many heads changed enough to have moved, but on too few problems; empty if there are none."""
    effect = comparison.effect.value
    count = int((undecided(comparison, threshold) & np.isfinite(effect)).sum())
    if not count:
        return ""
    return (
        f" {counted(count, noun)} changed enough but could not be tested, because fewer than {FEWEST_PROBLEMS} "
        "problems show a change or the metric is undefined on some problem."
    )


def _tested(problems: int) -> str:
    if problems == 1:
        return "; there is only one prompt, so there is no test"
    if problems < FEWEST_PROBLEMS:
        return f"; with {problems} problems, p cannot reach {SIGNIFICANT:g}, so no head can count as moved"
    return f", and that p is at most {SIGNIFICANT:g} in a test over problems (not over seeds)"


def p_over_problems(differences: Array, permutations: int, seed: int) -> Array:
    """P of every head; NaN with one problem, and for heads without a value on a problem where others have one."""
    p = np.full(differences.shape[1:], np.nan)
    finite = np.isfinite(differences)
    problems = finite.any(axis=(1, 2))
    heads = finite[problems].all(axis=0)
    if problems.sum() > 1 and heads.any():
        p[heads] = max_t(differences[problems][:, heads], permutations=permutations, seed=seed)
    return p
