"""The one number by which a document is compared between models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.evaluation.tasks.choice import TaskChoice

OF_SUCCESS = ("acc", "exact_match", "em", "math_verify", "pass@", "mc1")
"""Prefixes of metrics that say whether an answer is correct; they take precedence over others."""
_OF_LIKELIHOOD = ("perplexity", "weighted_perplexity", "bits_per_byte")
"""lm-eval's aggregations of log-likelihoods: a document's value is higher for better models, unlike the result."""
_PAIR = 2
"""lm-eval gives some of them a pair per document: a log-likelihood, and the words or bytes it is divided by."""


def document_score(task: Any, rows: Sequence[dict[str, Any]], choice: TaskChoice) -> dict[str, Any]:
    """The score of a document, by the chosen metric under the task's first filter.

    Without a choice, it is the first metric that says whether the answer is correct, or else the first number.

    A perplexity's score is the log-likelihood per word or byte, in nats, with the words or bytes as its weight, so that
    the weighted mean over documents is minus the logarithm of lm-eval's perplexity.

    Args:
        task: lm-eval's task object.
        rows: lm-eval's samples of the document, one per filter.
        choice: What was chosen.

    Returns:
        `metric`, `score`, `weight` and `higher_is_better`.

    Raises:
        UsageError: The document has no such metric.
        KdprobeError: No metric of the document is a number.
    """
    row = rows[0]
    names = [choice.metric] if choice.metric else sorted(row["metrics"], key=lambda name: not _of_success(name))
    if choice.metric and choice.metric not in row["metrics"]:
        raise UsageError(
            f"The task {choice.name!r} has no metric {choice.metric!r}.", f"It has: {', '.join(row['metrics'])}."
        )
    for name in names:
        score = _number(row[name])
        if score is not None:
            likelihood = getattr(task.aggregation().get(name), "__name__", "") in _OF_LIKELIHOOD
            return {
                "metric": name,
                "score": score[0],
                "weight": score[1],
                "higher_is_better": likelihood or bool(task.higher_is_better().get(name, True)),
            }
    raise KdprobeError(
        f"No metric of the task {choice.name!r} gives one number per document (metrics: {', '.join(row['metrics'])}).",
        "Such tasks cannot be compared document by document.",
    )


def _of_success(name: str) -> bool:
    return name.startswith(OF_SUCCESS) or name.endswith("_acc")


def _number(value: Any) -> tuple[float, float] | None:
    """A score and its weight."""
    if isinstance(value, Real):
        return (float(value), 1.0) if math.isfinite(float(value)) else None
    pair = isinstance(value, tuple) and len(value) == _PAIR and all(isinstance(part, Real) for part in value)
    return (float(value[0]) / float(value[1]), float(value[1])) if pair and value[1] > 0 else None
