"""Tidy tables: one observation per row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.probing.attention.moved import Comparison
from kdprobe.probing.labels import Head
from kdprobe.probing.metrics.measure import Measured
from kdprobe.stats.bootstrap import Means, means_over_problems

_FILE_NAME = re.compile(r"\w[\w.-]*")
_FORMULA = re.compile(r"[=@\t\n]|[+-](?!\d+(\.\d*)?(e[+-]?\d+)?$)", re.IGNORECASE)
"""Matches the start of texts that a spreadsheet takes for formulas; signed numbers are not."""
POOLED = "pooled"
"""The value of the column `problem` for the mean over problems."""


def pooled(measured: Measured, seed: int) -> pd.DataFrame:
    """A table with columns student, layer, head, metric, problem (always pooled), value, low, high."""
    return pd.concat(
        [
            means(means_over_problems(values, seed), student=student, metric=metric, problem=POOLED)
            for student, metrics in measured.items()
            for metric, values in metrics.items()
        ],
        ignore_index=True,
    )


def by_problem(measured: Measured, problems: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """A table with the same columns and a row per problem; a single observation has no interval.

    Args:
        measured: The values.
        problems: For each student or file, the names of the problems or prompts.
    """
    return pd.concat(
        [
            means(Means(value, np.full_like(value, np.nan), np.full_like(value, np.nan)), **keys)
            for student, metrics in measured.items()
            for metric, values in metrics.items()
            for problem, value in zip(problems[student], values, strict=True)
            for keys in [{"student": student, "metric": metric, "problem": problem}]
        ],
        ignore_index=True,
    )


def differences(comparisons: Sequence[Comparison], verdicts: Mapping[str, NDArray[np.object_]]) -> pd.DataFrame:
    """Paired differences: student, layer, head, metric, problem, value, low, high, against, p_over_problems, moved.

    Args:
        comparisons: All comparisons.
        verdicts: For each arm, whether each head moved by the deciding metric, `[layer, head]`. `moved` is missing for
            other metrics and where there is no way to tell.
    """
    frames = []
    for comparison in comparisons:
        frame = means(comparison.effect, student=comparison.arm, metric=comparison.metric, problem=POOLED)
        frame["against"] = comparison.against
        frame["p_over_problems"] = comparison.p.ravel()
        found = verdicts.get(f"{comparison.arm} {comparison.metric}", np.full(comparison.p.shape, None))
        frame["moved"] = pd.array(found.ravel(), dtype="boolean")
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def means(values: Means, *, student: str, metric: str, problem: str) -> pd.DataFrame:
    """A table with a row per layer and head."""
    layer, head = np.indices(values.value.shape)
    return pd.DataFrame(
        {
            "student": student,
            "layer": layer.ravel(),
            "head": head.ravel(),
            "metric": metric,
            "problem": problem,
            "value": values.value.ravel(),
            "low": values.low.ravel(),
            "high": values.high.ravel(),
        }
    )


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Writes each table as `NAME.parquet`, and as `NAME.csv` for spreadsheets.

    Raises:
        KdprobeError: A name is not a valid file name, or two differ only in case.
    """
    for name in tables:
        if not _FILE_NAME.fullmatch(name):
            raise KdprobeError(
                f"The name of the table {name!r} is not a valid file name.",
                "Use letters, digits, dots, dashes and underscores; this is a bug in the analysis.",
            )
    if len({name.casefold() for name in tables}) < len(tables):
        raise KdprobeError(
            f"The tables {', '.join(tables)} have names that differ only in case.", "This is a bug in the analysis."
        )
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
        # Metrics are float32, so further digits are meaningless.
        _without_formulas(table).to_csv(folder / f"{name}.csv", index=False, float_format="%.7g")


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Puts an apostrophe before every text that a spreadsheet would take for a formula."""
    texts = table.select_dtypes(exclude=["number", "bool"])
    changed = {name: _all_escaped(texts[name]) for name in texts.columns}
    return table.assign(**changed).rename(columns=_escaped)


def _all_escaped(cells: pd.Series) -> Any:
    """The cells escaped."""
    if not isinstance(cells.dtype, pd.StringDtype | pd.CategoricalDtype):
        return [_escaped(cell) for cell in cells]
    # Most columns repeat a few texts.
    codes, different = pd.factorize(cells, use_na_sentinel=False)
    return np.array([_escaped(cell) for cell in different], dtype=object)[codes]


def _escaped(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    # A bare carriage return would not be quoted, and would start a row.
    text = "\n".join(cell.replace("\r\n", "\n").split("\r"))
    return f"'{text}" if _FORMULA.match(text) else text


def top(values: NDArray[np.float64], heads: Sequence[Head], name: str) -> list[dict[str, Any]]:
    """Heads as in JSON output."""
    return [{"layer": layer, "head": head, name: float(values[layer, head])} for layer, head in heads]
