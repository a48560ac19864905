"""pass@k and maj@k as pandas tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.comparison.result import Pair
    from kdprobe.comparison.scoring import Score

SHOWN = ("name", "a", "b", "extractor", "measure", "value", "difference", "interval_low", "interval_high", "p")
"""The columns that are shown, of both tables."""


def at_k_scores(scores: Sequence[tuple[str, Score]]) -> pd.DataFrame:
    """A row for each name and measure: `name`, `extractor`, `measure`, `value` and its interval."""
    from kdprobe.api.results.frames import frame
    from kdprobe.comparison.samples.at_k import AtK

    rows = [({"name": name, "extractor": score.extractor}, each) for name, score in scores for each in score.at_k]
    return _named(frame(AtK, [each for _, each in rows]), ("name", "extractor"), [names for names, _ in rows])


def at_k_pairs(pairs: Sequence[Pair]) -> pd.DataFrame:
    """A row for each pair and measure: `a`, `b`, `measure`, `difference`, its interval and `p`."""
    from kdprobe.api.results.frames import frame
    from kdprobe.comparison.samples.at_k import AtKDifference

    rows = {(pair.a, pair.b, each.measure): each for pair in pairs for each in pair.at_k}
    names = [{"a": a, "b": b} for a, b, _ in rows]
    return _named(frame(AtKDifference, list(rows.values())), ("a", "b"), names)


def _named(table: pd.DataFrame, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    for place, column in enumerate(columns):
        table.insert(place, column, [row[column] for row in rows])
    return table
