"""What heads attend to on one problem, in a form that compresses well: equal values of students are adjacent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from kdprobe.console.streams import visible

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_KEYS = 4
_MOST = 4_000_000
"""The most numbers in all; more would make the page slow to open."""


class ShownAttention(TypedDict):
    """The attention of all heads on one problem.

    Attributes:
        problem: The problem's id.
        tokens: What was read.
        students: The students.
        layers: Number of layers.
        heads: Heads per layer.
        keys: The four strongest keys by layer, head, query and student; -1 for none, and for weights of 0.
        weights: Their weights in percent: of all first keys, then of all second ones, and so on, which compresses
            better than the order of the keys.
        rests: What is left to all other keys, in percent, by layer, head, query and student.
        whole: All weights of some heads (named `layer head`), in percent, by student, query and key up to the query.
    """

    problem: str
    tokens: list[str]
    students: list[str]
    layers: int
    heads: int
    keys: list[int]
    weights: list[list[int]]
    rests: list[int]
    whole: dict[str, list[list[int]]]


def shown_attention(tables: Mapping[str, pd.DataFrame | Path]) -> ShownAttention | None:
    """The attention in an analysis's tables; `None` if there is none, or students differ in layers and heads.

    Args:
        tables: Tables by name, or their Parquet files.
    """
    if not {"strongest_keys", "tokens"} <= tables.keys():
        return None
    strongest, tokens = _read(tables["strongest_keys"]), _read(tables["tokens"])
    students = list(dict.fromkeys(strongest["student"]))
    layers, heads = int(strongest["layer"].max()) + 1, int(strongest["head"].max()) + 1
    rows = layers * heads * len(tokens) * len(students)
    if len(strongest) != rows or rows * 2 * _KEYS > _MOST:
        return None
    strongest["student"] = strongest["student"].astype(str).map(students.index)
    strongest = strongest.sort_values(["layer", "head", "query", "student"])
    keys = strongest[[f"key_{index + 1}" for index in range(_KEYS)]].to_numpy()
    weights = _percent(strongest[[f"weight_{index + 1}" for index in range(_KEYS)]].to_numpy())
    return {
        "problem": visible(str(tokens["problem"].iloc[0])),
        "tokens": [visible(token) for token in tokens["token"]],
        "students": [visible(student) for student in students],
        "layers": layers,
        "heads": heads,
        "keys": np.where(weights, keys, -1).ravel().tolist(),
        "weights": weights.T.tolist(),
        "rests": _percent(strongest["rest"].to_numpy()).tolist(),
        "whole": _whole(_read(tables["whole_attention"]), students) if "whole_attention" in tables else {},
    }


def _whole(table: pd.DataFrame, students: list[str]) -> dict[str, list[list[int]]]:
    found: dict[str, list[list[int]]] = {}
    for (layer, head), rows in table.groupby(["layer", "head"]):
        of = {
            student: _percent(part["weight"].to_numpy()).tolist()
            for student, part in rows.groupby("student", observed=True)
        }
        found[f"{layer} {head}"] = [of[student] for student in students]
    return found


def _read(table: pd.DataFrame | Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(table) if isinstance(table, Path) else table.copy()


def _percent(weights: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    percent: NDArray[np.int64] = np.rint(weights * 100).astype(np.int64)
    return percent
