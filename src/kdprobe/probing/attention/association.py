"""The analysis `association`: does what a head does go with whether the student solves the problem?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from kdprobe.errors import UsageError
from kdprobe.probing import tables
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Need
from kdprobe.probing.figures import head_map
from kdprobe.probing.metrics.measure import measure
from kdprobe.probing.options import AssociationOptions
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.stats.van_elteren import Association, length_strata, van_elteren

_NAMED = 3

_CAPTION = "Probability that the metric is higher where the answer is right; 0.5 is no association."


class AssociationAnalysis:
    """One metric of every head against correctness, within each student and within problems of like length."""

    needs: frozenset[Need] = frozenset({"patterns", "students", "problems", "scores"})

    def __init__(self, options: AssociationOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Tests every head of every student; false discoveries are controlled over the heads of a student."""
        metric = self.options.metric
        if metric not in context.head_metrics:
            raise UsageError(f"There is no head metric {metric!r}.", f"There are: {', '.join(context.head_metrics)}.")
        only = {metric: context.head_metrics[metric]}
        lengths = np.array([len(sequence.ids) for sequence in context.sequences], dtype=float)
        strata = length_strata(lengths, self.options.strata)
        frames, figures, statements = [], [], []
        for name, values in measure(context, only).items():
            solved = {record["id"]: bool(record["correct"]) for record in context.records[name]}
            correct = np.array([solved[problem.id] for problem in context.problems])
            found, q = _tested(values[metric], correct, strata)
            frames.append(_table(name, metric, found, q))
            title = f"Association of {metric} with correctness: {name}"
            figures.append(head_map(title, found.superiority, "probability", _CAPTION))
            statements.append(_sentence(name, metric, found, q, correct))
        return AnalysisResult({"association": pd.concat(frames, ignore_index=True)}, figures, statements)


def build(options: AssociationOptions) -> AssociationAnalysis:
    """The analysis."""
    return AssociationAnalysis(options)


def _tested(
    values: NDArray[np.float64], correct: NDArray[np.bool_], strata: NDArray[np.int64]
) -> tuple[Association, NDArray[np.float64]]:
    """Association and q of every head, `[layer, head]`; NaN for heads without a value on some problem."""
    shape = values.shape[1:]
    flat = values.reshape(len(values), -1)
    known = np.isfinite(flat).all(axis=0)
    found = van_elteren(flat[:, known], correct, strata)
    superiority, p, q = (np.full(flat.shape[1], np.nan) for _ in range(3))
    superiority[known], p[known] = found.superiority, found.p
    q[known] = false_discovery_control(found.p) if known.any() else np.nan
    return Association(superiority.reshape(shape), p.reshape(shape), found.pairs), q.reshape(shape)


def _table(student: str, metric: str, found: Association, q: NDArray[np.float64]) -> pd.DataFrame:
    layer, head = np.indices(q.shape)
    return pd.DataFrame(
        {
            "student": student,
            "layer": layer.ravel(),
            "head": head.ravel(),
            "metric": metric,
            "problem": tables.POOLED,
            "value": found.superiority.ravel(),
            "p_over_problems": found.p.ravel(),
            "q": q.ravel(),
        }
    )


def _sentence(student: str, metric: str, found: Association, q: NDArray[np.float64], correct: NDArray[np.bool_]) -> str:
    lead = f"{student}, {int(correct.sum())} of {len(correct)} right:"
    if not found.pairs:
        return f"{lead} no right and wrong answers of like length, so there is nothing to associate {metric} with."
    order = np.argsort(np.where(np.isfinite(q), q, np.inf), axis=None, kind="stable")
    places = [tuple(int(axis) for axis in np.unravel_index(place, q.shape)) for place in order]
    heads = [place for place in places if q[place] <= SIGNIFICANT]
    if not heads:
        return f"{lead} no head's {metric} is associated with correctness (smallest q {np.nanmin(q):.2g})."
    named = "; ".join(
        f"layer {place[0]}, head {place[1]} ({found.superiority[place]:.2f}, q {q[place]:.2g})"
        for place in heads[:_NAMED]
    )
    return (
        f"{lead} {metric} of {len(heads)} heads is associated with correctness at a false discovery rate of "
        f"{SIGNIFICANT:g}, first {named}. The number is the probability that it is higher where the answer is right; "
        "an association within problems of like length, not a cause."
    )
