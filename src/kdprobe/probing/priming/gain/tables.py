"""The tables of `priming_gain`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kdprobe.probing.priming.gain.measured import Gain, shown
from kdprobe.probing.priming.gain.predicted import MEASURES, Measure, TeacherLogP
from kdprobe.stats.p_values import holm


def gain_tables(gains: Sequence[Gain], unprimed: str, teacher: TeacherLogP) -> dict[str, pd.DataFrame]:
    """One row per student or strategy and measure, and one per problem besides.

    Args:
        gains: The measurements.
        unprimed: The unprimed strategy's name.
        teacher: The teacher's log-probabilities.
    """
    problems = [row for gain in gains for measure in MEASURES for row in _problem_rows(gain, measure, teacher)]
    return {
        "priming_gain": pd.DataFrame(gain_rows(gains, unprimed)),
        "priming_gain_problems": pd.DataFrame(problems),
    }


def gain_rows(gains: Sequence[Gain], unprimed: str) -> list[dict[str, Any]]:
    """Means and correlations; p is adjusted over what sentences show, for each measure."""
    rows = []
    for measure in MEASURES:
        found = [_row(gain, measure, unprimed) for gain in gains]
        stated = {id(gain) for gain in shown(gains)}
        family = [
            row
            for gain, row in zip(gains, found, strict=True)
            if id(gain) in stated and not np.isnan(row["p_over_units"])
        ]
        for row, adjusted in zip(family, holm([row["p_over_units"] for row in family]), strict=True):
            row["p_adjusted"] = adjusted
        rows += found
    return rows


def _row(gain: Gain, measure: Measure, unprimed: str) -> dict[str, Any]:
    correlation = gain.correlation(measure)
    predicted, realised = gain.predicted_mean(measure), gain.realised_mean(measure)
    # A teacher that sees the gold solution predicts nothing, so there is no test.
    tested = not gain.sees_gold
    return {
        "student": gain.name,
        "strategy": gain.strategy,
        "against": unprimed,
        "measure": measure,
        "correlation": correlation.value if tested else np.nan,
        "low": correlation.interval.low if tested else np.nan,
        "high": correlation.interval.high if tested else np.nan,
        "p_over_units": correlation.p if tested else np.nan,
        "p_adjusted": np.nan,
        "missing": correlation.missing if tested else None,
        "over": "templates" if correlation.groups else "problems",
        "sees_gold": gain.sees_gold,
        "predicted": predicted.value,
        "predicted_low": predicted.interval.low,
        "predicted_high": predicted.interval.high,
        "realised": realised.value,
        "realised_low": realised.interval.low,
        "realised_high": realised.interval.high,
        "seeds": len(gain.students),
        "templates": correlation.groups,
        "problems": correlation.problems,
        "problems_alone": len(gain.problems) - correlation.problems,
    }


def _problem_rows(gain: Gain, measure: Measure, teacher: TeacherLogP) -> Iterator[dict[str, Any]]:
    realised = gain.realised(measure).mean(axis=0)
    for index, problem in enumerate(gain.problems):
        yield {
            "student": gain.name,
            "strategy": gain.strategy,
            "measure": measure,
            "problem": problem.id,
            "template": problem.group,
            "teacher_bare": float(teacher.bare[measure][index]),
            "teacher_primed": float(teacher.primed[gain.strategy][measure][index]),
            "predicted": float(gain.predicted[measure][index]),
            "realised": float(realised[index]),
        }
