"""Paired differences between students, head by head, and which heads moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdprobe.evaluation.statistics import SIGNIFICANT
from kdprobe.probing.arms import Threshold, arms
from kdprobe.probing.measure import Measured
from kdprobe.probing.resampling import Means, means_over_problems
from kdprobe.probing.sign_flips import max_t

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


def compare(measured: Measured, metrics: Sequence[str], *, permutations: int, seed: int) -> list[Comparison]:
    """Compares every arm with the first student, by every metric.

    Args:
        measured: Students that read the same tokens and have the same layers and heads.
        metrics: Which metrics.
        permutations: Of the test.
        seed: Of whatever is drawn.
    """
    against, *others = measured
    comparisons = []
    for arm, members in arms(others).items():
        for metric in metrics:
            differences = np.mean([measured[name][metric] for name in members], axis=0) - measured[against][metric]
            effect = means_over_problems(differences, seed)
            p = _p(differences, permutations, seed)
            comparisons.append(Comparison(arm, against, metric, effect, p, len(differences)))
    return comparisons


def effects(measured: Measured, metric: str) -> dict[str, Array]:
    """Student to its values, `[layer, head]`: the mean over problems."""
    return {name: means_over_problems(values[metric]).value for name, values in measured.items()}


def moved(comparison: Comparison, threshold: Threshold) -> list[tuple[int, int]]:
    """Heads that moved, by falling effect: the effect reaches the threshold, and p, where there is one, allows it.

    p alone never makes a head moved: on identical tokens the most trivial change is significant.
    """
    size = np.abs(comparison.effect.value)
    enough = (size >= threshold.value) & (size > 0) & ~(comparison.p > SIGNIFICANT)
    return [head for head in ranked(size) if enough[head]]


def ranked(values: Array) -> list[tuple[int, int]]:
    """Layers and heads by falling value; those without a value last."""
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), axis=None, kind="stable")
    layers, heads = np.unravel_index(order, values.shape)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


def moved_sentence(comparison: Comparison, threshold: Threshold, unit: str) -> str:
    """Which heads moved, or that none did; what the largest change was."""
    found = moved(comparison, threshold)
    value = comparison.effect.value
    shown = f" {unit}" if unit else ""

    def named(head: tuple[int, int]) -> str:
        low, high = comparison.effect.low[head], comparison.effect.high[head]
        interval = f", {low:+.3f} to {high:+.3f}" if np.isfinite(low) else ""
        return f"layer {head[0]}, head {head[1]} ({value[head]:+.3f}{shown}{interval})"

    tested = (
        f"; p at most {SIGNIFICANT:g} over problems only" if comparison.problems > 1 else "; one prompt, so no test"
    )
    means = f"moved means {comparison.metric} changed by {threshold.sentence(unit)}{tested}"
    who = f"{comparison.arm} against {comparison.against}"
    if not found:
        largest = ranked(np.abs(value))[0]
        return f"{who}: no head moved ({means}). The largest change is that of {named(largest)}."
    heads = "; ".join(named(head) for head in found[:_NAMED])
    lead = f"{len(found)} of {value.size} heads moved" if len(found) > 1 else f"1 of {value.size} heads moved"
    most = ", most of all " if len(found) > _NAMED else ": "
    return f"{who}: {lead}{most}{heads}. Here {means}. Differences seen, not causes shown."


def same_shape(measured: Mapping[str, Mapping[str, Array]]) -> tuple[Measured, list[str]]:
    """Those that have as many problems, layers and heads as the first, and the names of those that have not."""
    shapes = {name: next(iter(values.values())).shape for name, values in measured.items()}
    first = next(iter(shapes.values()))
    alike = {name: dict(values) for name, values in measured.items() if shapes[name] == first}
    return alike, [name for name in measured if name not in alike]


def _p(differences: Array, permutations: int, seed: int) -> Array:
    """P of every head; NaN with one problem, and for heads without a value on some problem that others have one on."""
    p = np.full(differences.shape[1:], np.nan)
    known = np.isfinite(differences)
    problems = known.any(axis=(1, 2))
    heads = known[problems].all(axis=0)
    if problems.sum() > 1 and heads.any():
        p[heads] = max_t(differences[problems][:, heads], permutations=permutations, seed=seed)
    return p
