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
from kdprobe.stats.max_t import max_t
from kdprobe.stats.p_values import SIGNIFICANT

Array = NDArray[np.float64]

_NAMED = 3
"""Heads that a sentence names."""


@dataclass(frozen=True)
class Comparison:
    """One arm against one student on identical tokens, by one metric.

    Attributes:
        arm: Its students' mean is compared, where it has several seeds.
        against: The student that it is compared with.
        metric: The metric.
        effect: Mean difference over problems, `[layer, head]`, with its interval over problems.
        p: Of the sign-flip test, adjusted over all heads, over problems only; NaN where there is no test.
        problems: How many problems there were.
    """

    arm: str
    against: str
    metric: str
    effect: Means
    p: Array
    problems: int


def compare(
    measured: Measured, arms: Mapping[str, Sequence[str]], metrics: Sequence[str], *, permutations: int, seed: int
) -> list[Comparison]:
    """Compares arms with the first student, by every metric.

    Args:
        measured: Students that read the same tokens and have the same layers and heads.
        arms: Arm to its students, the first one of all left out.
        metrics: Which metrics.
        permutations: Of the test.
        seed: Of whatever is drawn.
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
    """Student to its values, `[layer, head]`: the mean over problems."""
    return {name: means_over_problems(values[metric]).value for name, values in measured.items()}


def moved(comparison: Comparison, threshold: Threshold) -> list[Head]:
    """Heads that moved, by falling effect: the effect reaches the threshold, and p, where there is one, allows it.

    p alone never makes a head moved: on identical tokens the most trivial change is significant.
    """
    size = np.abs(comparison.effect.value)
    enough = (size >= threshold.value) & (size > 0) & ~(comparison.p > SIGNIFICANT)
    return [head for head in ranked(size) if enough[head]]


def ranked(values: Array) -> list[Head]:
    """Heads by falling value, `[layer, head]`; those without a value last."""
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), axis=None, kind="stable")
    layers, heads = np.unravel_index(order, values.shape)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


def moved_sentence(comparison: Comparison, threshold: Threshold, unit: str) -> str:
    """Which heads moved, or that none did; what the largest change was."""
    heads = moved(comparison, threshold)
    value = comparison.effect.value
    spaced_unit = f" {unit}" if unit else ""

    def change(head: Head) -> str:
        low, high = comparison.effect.low[head], comparison.effect.high[head]
        interval = f", {low:+.3f} to {high:+.3f}" if np.isfinite(low) else ""
        return f"{head_label(*head)} ({value[head]:+.3f}{spaced_unit}{interval})"

    means = f"moved means {comparison.metric} changed by {threshold.sentence(unit)}; {_tested(comparison.problems)}"
    pair = f"{comparison.arm} against {comparison.against}"
    if not heads:
        largest = ranked(np.abs(value))[0]
        return f"{pair}: no head moved ({means}). The largest change is that of {change(largest)}."
    changes = "; ".join(change(head) for head in heads[:_NAMED])
    lead = f"{len(heads)} of {value.size} heads moved"
    most = ", most of all " if len(heads) > _NAMED else ": "
    return f"{pair}: {lead}{most}{changes}. Here {means}. Differences seen, not causes shown."


def _tested(problems: int) -> str:
    if problems == 1:
        return "one prompt, so no test"
    # All differences of one sign, or all of the other.
    if 2 / 2**problems > SIGNIFICANT:
        return f"with {problems} problems no p can be as small as {SIGNIFICANT:g}, so none can"
    return f"p at most {SIGNIFICANT:g} over problems only"


def _p(differences: Array, permutations: int, seed: int) -> Array:
    """P of every head; NaN with one problem, and for heads without a value on some problem that others have one on."""
    p = np.full(differences.shape[1:], np.nan)
    finite = np.isfinite(differences)
    problems = finite.any(axis=(1, 2))
    heads = finite[problems].all(axis=0)
    if problems.sum() > 1 and heads.any():
        p[heads] = max_t(differences[problems][:, heads], permutations=permutations, seed=seed)
    return p
