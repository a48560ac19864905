"""What analyses measured of every head, as layer x head grids: one measure at a time, one grid per student."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from kdprobe.console.streams import visible
from kdprobe.report.payload.head_sets import HeadSet, head_sets, set_table

if TYPE_CHECKING:
    import pandas as pd

_NEEDED = {"student", "layer", "head", "value"}
_POOLED = "pooled"
_LOG_P = {"log_p_gold_solution": "log p(gold solution)", "log_p_gold_value": "log p(gold value)"}
_TITLES = {
    "heads": "{metric}",
    "differences": "Change in {metric}",
    "ablation": "Ablation: {metric}",
    "patching": "Patching into {into}: {metric}",
    "geometry": "Relative change in the {metric} circuit",
    "jensen_shannon": "Attention divergence",
    "divergence": "Variance of attention between students",
    "attribution": "Direct contribution to the logits of the {metric}",
    "association": "Probability that {metric} is higher for correct answers",
}
_DIGITS = 5
_SHOWN_DIGITS = 4
"""For the ends of intervals, which the page only prints; values need more digits, because it averages them."""
_WHOLE = 1000
"""Numbers from here on are printed without decimals."""
_UNITS = {"ablation": "nats", "patching": "nats", "jensen_shannon": "nats", "attribution": "logits"}


class Grid(TypedDict):
    """One value per head, layer by layer; `None` where it is unknown.

    Attributes:
        layers: Number of layers.
        heads: Heads per layer.
        value: The values.
        low: The lower ends of their 95% intervals.
        high: The upper ends.
        exact: Whether each value is exact, not an estimate, or `None` if all were measured in the same way.
        moved: Whether each head is known to have moved, or `None` if no head was tested.
    """

    layers: int
    heads: int
    value: list[float | None]
    low: list[float | None]
    high: list[float | None]
    exact: list[bool] | None
    moved: list[bool] | None


class HeadMeasure(TypedDict):
    """A measure of heads.

    Attributes:
        table: The table it comes from.
        metric: What was measured; changes have the metric that they are changes in.
        title: What it is.
        unit: Its unit; empty for a share or if unknown.
        against: The student whose values were subtracted, or `None`.
        students: Its grids, by student.
        top: By student, the heads that were estimated to matter most, ablated together.
        diverged: By student, those whose attention diverged most, ablated together.
    """

    table: str
    metric: str
    title: str
    unit: str
    against: str | None
    students: dict[str, Grid]
    top: dict[str, HeadSet]
    diverged: dict[str, HeadSet]


def head_measures(tables: Mapping[str, pd.DataFrame | Path]) -> list[HeadMeasure]:
    """The measures in an analysis's tables that have a value for every head; other tables have none.

    Args:
        tables: Tables by name, or their Parquet files.
    """
    return [measure for name in tables for measure in _measures(name, tables)]


def few_students(
    measures: Mapping[str, Sequence[HeadMeasure]], groups: Mapping[str, str], base: str | None = None
) -> dict[str, list[str]]:
    """The students of each analysis that left out some that another one examined.

    Students that differ only by their seed are named once, by their group, if all of them were examined.

    Args:
        measures: The measures of each analysis.
        groups: What students that differ only by their seed have in common, by the student's name; may itself be the
            student of a measure.
        base: The untrained student, of which many measures are differences and so have no value; it may be left out.
    """
    examined = {
        analysis: [
            name for name in groups if any({name, groups[name]} & measure["students"].keys() for measure in found)
        ]
        for analysis, found in measures.items()
    }
    everyone = {name for names in examined.values() for name in names}
    few = {analysis: names for analysis, names in examined.items() if names and everyone - {*names, base}}
    return {
        analysis: list(dict.fromkeys(_shortest(name, names, groups) for name in names))
        for analysis, names in few.items()
    }


def _shortest(name: str, names: Sequence[str], groups: Mapping[str, str]) -> str:
    """A student's group if the names contain all of its students, else its name."""
    group = groups[name]
    return group if all(each in names for each, its in groups.items() if its == group) else name


def _measures(name: str, tables: Mapping[str, pd.DataFrame | Path]) -> Iterator[HeadMeasure]:
    frame = _read(name, tables[name])
    if frame is None:
        return
    sets = set_table(tables) if name == "ablation" else None
    for keys, rows in frame.groupby(["metric", "into", "against"], sort=False):
        metric, into, against = (str(key) for key in keys)
        students = {
            visible(str(student)): grid
            for student, values in rows.groupby("student", sort=False)
            if (grid := _grid(values)) is not None
        }
        if students:
            title, unit = _words(name, metric, into)
            yield {
                "table": name,
                "metric": visible(metric),
                "title": visible(title),
                "unit": visible(unit),
                "against": visible(against) or None,
                "students": students,
                "top": head_sets(sets, metric, "top"),
                "diverged": head_sets(sets, metric, "moved"),
            }


def _read(name: str, table: pd.DataFrame | Path) -> pd.DataFrame | None:
    """The rows that hold one value per head, with the same columns for all tables; `None` if there are none."""
    import pandas as pd
    import pyarrow.parquet as pq

    columns = set(pq.read_schema(table).names if isinstance(table, Path) else table.columns)
    measured = "relative" if name == "geometry" else "value"
    if not columns | ({"value"} if measured in columns else set()) >= _NEEDED:
        return None
    if isinstance(table, Path):
        filters = [("problem", "=", _POOLED)] if "problem" in columns else None
        frame = pd.read_parquet(table, filters=filters)
    else:
        frame = table[table["problem"] == _POOLED] if "problem" in columns else table
    is_integer, is_number = pd.api.types.is_integer_dtype, pd.api.types.is_numeric_dtype
    numbered = is_integer(frame["layer"]) and is_integer(frame["head"]) and is_number(frame[measured])
    if frame.empty or not numbered:
        return None
    shared = pd.DataFrame({"layer": frame["layer"], "head": frame["head"], "value": frame[measured]})
    # In `patching`, the student shown is the one whose outputs were used (`source`).
    shared["student"] = frame["source" if "source" in columns else "student"]
    shared["into"] = frame["student"] if "source" in columns else ""
    shared["metric"] = frame["metric"] if "metric" in columns else frame.get("circuit", "")
    shared["against"] = frame["against"].fillna("") if "against" in columns else ""
    for column in ("low", "high"):
        shared[column] = frame.get(column, math.nan)
    shared["exact"] = frame["method"] == "exact" if "method" in columns else None
    shared["moved"] = frame.get("moved")
    return shared


def _grid(rows: pd.DataFrame) -> Grid | None:
    """The grid of one student, with exact values in place of those to first order; `None` if heads have several."""
    if known := rows["exact"].notna().all():
        rows = rows.sort_values("exact", kind="stable").drop_duplicates(["layer", "head"], keep="last")
    if rows.duplicated(["layer", "head"]).any():
        return None
    layers, heads = int(rows["layer"].max()) + 1, int(rows["head"].max()) + 1
    places = (rows["layer"] * heads + rows["head"]).tolist()

    def column(name: str) -> list[Any]:
        cells: list[Any] = [None] * (layers * heads)
        for place, cell in zip(places, rows[name].tolist(), strict=True):
            cells[place] = cell
        return cells

    def numbers(name: str, digits: int) -> list[float | None]:
        return [_rounded(cell, digits) for cell in column(name)]

    return {
        "layers": layers,
        "heads": heads,
        "value": numbers("value", _DIGITS),
        "low": numbers("low", _SHOWN_DIGITS),
        "high": numbers("high", _SHOWN_DIGITS),
        "exact": [bool(cell) for cell in column("exact")] if known else None,
        "moved": [cell is True for cell in column("moved")] if rows["moved"].notna().any() else None,
    }


def _rounded(cell: float | None, digits: int) -> float | None:
    if cell is None or not math.isfinite(cell):
        return None
    return float(f"{cell:.{digits}g}") if abs(cell) < _WHOLE else float(round(cell))


def _words(table: str, metric: str, into: str) -> tuple[str, str]:
    """The title and the unit of a measure."""
    summary, unit = _metrics().get(metric, (_LOG_P.get(metric, metric.replace("_", " ")), ""))
    if table == "attribution":
        summary = metric.removeprefix("logit_").replace("_", " ")
    elif table in {"differences", "association"}:
        summary = summary[:1].lower() + summary[1:]
    elif table == "geometry":
        summary = metric.upper()
    title = _TITLES.get(table, f"{table.replace('_', ' ')}: {{metric}}").format(metric=summary, into=into)
    return title, _UNITS.get(table, unit if table in {"heads", "differences"} else "")


@cache
def _metrics() -> Mapping[str, tuple[str, str]]:
    """The summary and the unit of the built-in head metrics."""
    from kdprobe.probing.plugin import kdprobe_head_metrics

    return {spec.name: (spec.summary, spec.unit) for spec in kdprobe_head_metrics()}
