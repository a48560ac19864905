"""How well confidence separates correct from wrong answers, and how well it is calibrated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.bootstrap import bootstrap, percentile_interval
from kdprobe.stats.intervals import Interval


@dataclass(frozen=True)
class Bin:
    """Answers of similar confidence.

    Attributes:
        low: Lower bound of the confidence.
        high: Upper bound.
        answers: Number of answers.
        confidence: Mean confidence; NaN without answers.
        accuracy: Share of correct answers; NaN without answers.
    """

    low: float
    high: float
    answers: int
    confidence: float
    accuracy: float


def auroc(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Probability that a correct answer has more confidence than a wrong one, ties counting half.

    NaN without correct or without wrong answers.

    The Mann-Whitney statistic over the number of pairs (Hanley and McNeil, 1982).
    """
    right, wrong = int(correct.sum()), int((~correct).sum())
    if not right or not wrong:
        return float("nan")
    ranks = scipy.stats.rankdata(confidence)
    return float((ranks[correct].sum() - right * (right + 1) / 2) / (right * wrong))


def auroc_interval(confidence: NDArray[np.float64], correct: NDArray[np.bool_], seed: int = 0) -> Interval:
    """Percentile bootstrap interval at 95%; correct and wrong answers are resampled separately."""
    right, wrong = confidence[correct], confidence[~correct]
    if not len(right) or not len(wrong):
        return Interval(float("nan"), float("nan"))
    # Resampling changes how often a pair of answers is drawn, but not how the two compare.
    wins = np.sign(right[:, None] - wrong) / 2 + 0.5
    pairs = len(right) * len(wrong)
    return percentile_interval(
        bootstrap(
            lambda rights, wrongs: ((rights @ wins) * wrongs).sum(axis=1) / pairs, len(right), len(wrong), seed=seed
        )
    )


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int) -> list[Bin]:
    """Answers in confidence bins of equal width from 0 to 1."""
    borders = np.linspace(0, 1, bins + 1)
    bin_indices = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for index in range(bins):
        inside = bin_indices == index
        occupied = bool(inside.any())
        rows.append(
            Bin(
                float(borders[index]),
                float(borders[index + 1]),
                int(inside.sum()),
                float(confidence[inside].mean()) if occupied else float("nan"),
                float(correct[inside].mean()) if occupied else float("nan"),
            )
        )
    return rows


def calibration_error(bins: list[Bin]) -> float:
    """Expected calibration error: mean over answers of |accuracy - confidence| of their bin (Guo et al., 2017)."""
    answers = sum(bin_.answers for bin_ in bins)
    return sum(bin_.answers * abs(bin_.accuracy - bin_.confidence) for bin_ in bins if bin_.answers) / answers
