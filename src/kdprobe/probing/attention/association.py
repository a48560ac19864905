"""The analysis `association`: is what a head does associated with whether the student solves the problem?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from kdprobe.errors import UsageError
from kdprobe.probing import tables
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.figures import head_map
from kdprobe.probing.labels import head_label
from kdprobe.probing.metrics.measure import LEARNED_SINK, measure, require, sink_shares
from kdprobe.probing.options import AssociationOptions
from kdprobe.probing.patterns.real_keys import sink_sentences
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.stats.van_elteren import Association, length_strata, van_elteren
from kdprobe.words import counted

_NAMED = 3

_CAPTION = "Probability that the metric is higher for a correct answer than for a wrong one; 0.5 means no association."


class AssociationAnalysis:
    """One metric of every head against correctness, within each student and among problems of similar length."""

    def __init__(self, options: AssociationOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Tests every head of every student; false discoveries are controlled over the heads of a student."""
        metric = self.options.metric
        if metric not in context.head_metrics:
            raise UsageError(f"Unknown head metric {metric!r}.", f"Available: {', '.join(context.head_metrics)}.")
        asked = {name: context.head_metrics[name] for name in (metric, LEARNED_SINK) if name in context.head_metrics}
        lengths = np.array([len(sequence.ids) for sequence in context.sequences], dtype=float)
        strata = length_strata(lengths, self.options.strata)
        frames, figures, statements = [], [], []
        measured = measure(context, asked)
        require(measured, metric)
        for name, values in measured.items():
            solved = {record["id"]: bool(record["correct"]) for record in context.records[name]}
            correct = np.array([solved[problem.id] for problem in context.problems])
            association, q = associate(values[metric], correct, strata)
            frames.append(_table(name, metric, association, q))
            title = f"Association of {metric} with correctness: {name}"
            figures.append(head_map(title, association.superiority, "probability", _CAPTION))
            statements.append(_sentence(name, metric, association, q, correct))
        if metric != LEARNED_SINK:
            statements += sink_sentences(sink_shares(measured), f"{metric} describes")
        return AnalysisResult({"association": pd.concat(frames, ignore_index=True)}, figures, statements)


def build(options: AssociationOptions) -> AssociationAnalysis:
    """The analysis."""
    return AssociationAnalysis(options)


def associate(
    values: NDArray[np.float64], correct: NDArray[np.bool_], strata: NDArray[np.int64]
) -> tuple[Association, NDArray[np.float64]]:
    """Tests a metric of every head against correctness, within strata.

    Args:
        values: The metric, `[problem, layer, head]`.
        correct: Whether the student solved the problem, `[problem]`.
        strata: The stratum of each problem, `[problem]`, as made by `length_strata`.

    Returns:
        The association and its q, the false discovery rate over the heads, each `[layer, head]`; NaN for heads that
        lack a value on some problem.
    """
    shape = values.shape[1:]
    by_head = values.reshape(len(values), -1)
    complete = np.isfinite(by_head).all(axis=0)
    tested = van_elteren(by_head[:, complete], correct, strata)
    superiority, p, q = (np.full(by_head.shape[1], np.nan) for _ in range(3))
    superiority[complete], p[complete] = tested.superiority, tested.p
    q[complete] = scipy.stats.false_discovery_control(tested.p) if complete.any() else np.nan
    return Association(superiority.reshape(shape), p.reshape(shape), tested.pairs), q.reshape(shape)


def _table(student: str, metric: str, association: Association, q: NDArray[np.float64]) -> pd.DataFrame:
    layer, head = np.indices(q.shape)
    return pd.DataFrame(
        {
            "student": student,
            "layer": layer.ravel(),
            "head": head.ravel(),
            "metric": metric,
            "problem": tables.POOLED,
            "value": association.superiority.ravel(),
            "p_over_problems": association.p.ravel(),
            "q": q.ravel(),
        }
    )


def _sentence(
    student: str, metric: str, association: Association, q: NDArray[np.float64], correct: NDArray[np.bool_]
) -> str:
    lead = f"{student} ({int(correct.sum())} of {len(correct)} answers correct):"
    if not association.pairs:
        none = "no group of problems of similar length contains both correct and wrong answers"
        return f"{lead} {none}, so {metric} cannot be tested for association."
    order = np.argsort(np.where(np.isfinite(q), q, np.inf), axis=None, kind="stable")
    layers, heads = np.unravel_index(order, q.shape)
    associated = [head for head in zip(layers.tolist(), heads.tolist(), strict=True) if q[head] <= SIGNIFICANT]
    if not associated:
        return f"{lead} no head's {metric} is associated with correctness (smallest q {np.nanmin(q):.2g})."
    listed = "; ".join(
        f"{head_label(*head)} ({association.superiority[head]:.2f}, q {q[head]:.2g})" for head in associated[:_NAMED]
    )
    most = ", most strongly in" if len(associated) > _NAMED else ":"
    return (
        f"{lead} in {counted(len(associated), 'head')}, {metric} is associated with correctness (false discovery rate "
        f"{SIGNIFICANT:g}){most} {listed}. The first number in parentheses is the probability that the "
        "metric is higher for a correct than for a wrong answer. This is an association among problems of similar "
        "length and does not show causation."
    )
