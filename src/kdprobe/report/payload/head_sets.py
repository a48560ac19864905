"""What ablating several heads together did, compared with random sets of the same size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from kdprobe.console.streams import visible
from kdprobe.stats.p_values import p_text

if TYPE_CHECKING:
    import pandas as pd

TABLE = "ablation_sets"
_COLUMNS = {"student", "set", "number", "heads", "metric", "problem", "value"}


class HeadSet(TypedDict):
    """Heads that were ablated together.

    Attributes:
        heads: Their number.
        value: Their effect, in nats.
        random: The number of random sets.
        as_large: How many of these cost at least as much.
        p: The share of sets, including this one, that cost at least as much.
        floor: Whether p is the smallest that this many random sets can give.
    """

    heads: int
    value: float
    random: int
    as_large: int
    p: str
    floor: bool


def head_sets(tables: Mapping[str, pd.DataFrame | Path], metric: str, kind: str) -> dict[str, HeadSet]:
    """The sets of one kind of an ablation, by student; without those that no random sets were drawn for.

    Args:
        tables: Tables by name, or their Parquet files.
        metric: What was measured.
        kind: `top` or `moved`.
    """
    frame = _read(tables[TABLE]) if TABLE in tables else None
    if frame is None or not set(frame.columns) >= _COLUMNS:
        return {}
    found: dict[str, HeadSet] = {}
    for student, rows in frame[frame["metric"] == metric].groupby("student", sort=False):
        chosen, random = rows[rows["set"] == kind], rows.loc[rows["set"] == "random", "value"]
        if len(chosen) == 1 and len(random):
            effect = float(chosen["value"].iloc[0])
            as_large = int((random <= effect).sum())
            found[visible(str(student))] = {
                "heads": int(chosen["heads"].iloc[0]),
                "value": effect,
                "random": len(random),
                "as_large": as_large,
                "p": p_text((1 + as_large) / (1 + len(random))),
                "floor": as_large == 0,
            }
    return found


def _read(table: pd.DataFrame | Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(table) if isinstance(table, Path) else table
