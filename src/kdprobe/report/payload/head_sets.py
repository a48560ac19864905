"""What ablating several heads together did, compared with random sets of the same size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from kdprobe.console.streams import visible
from kdprobe.stats.p_values import SIGNIFICANT, as_large, p_text

if TYPE_CHECKING:
    import pandas as pd

_TABLE = "ablation_sets"
_COLUMNS = {"student", "set", "compared_with", "number", "heads", "metric", "problem", "value"}


class HeadSet(TypedDict):
    """Heads that were ablated together.

    Attributes:
        heads: Their number.
        value: Their effect, in nats.
        random: The number of random sets.
        as_large: How many of these cost at least as much.
        p: The share of sets, including this one, that cost at least as much.
        stands_out: Whether p is at most 5%, as in the analysis's statements.
    """

    heads: int
    value: float
    random: int
    as_large: int
    p: str
    stands_out: bool


def set_table(tables: Mapping[str, pd.DataFrame | Path]) -> pd.DataFrame | None:
    """The sets of an ablation; `None` if there are none.

    Args:
        tables: Tables by name, or their Parquet files.
    """
    import pandas as pd

    if (table := tables.get(_TABLE)) is None:
        return None
    frame = pd.read_parquet(table) if isinstance(table, Path) else table
    return frame if set(frame.columns) >= _COLUMNS else None


def head_sets(frame: pd.DataFrame | None, metric: str, kind: str) -> dict[str, HeadSet]:
    """The sets of one kind of an ablation, by student; without those that no random sets were drawn for.

    Args:
        frame: The result of `set_table`.
        metric: What was measured.
        kind: `top` or `moved`.
    """
    if frame is None:
        return {}
    found: dict[str, HeadSet] = {}
    for student, rows in frame[frame["metric"] == metric].groupby("student", sort=False):
        chosen = rows[rows["set"] == kind]
        random = rows.loc[(rows["set"] == "random") & (rows["compared_with"] == kind), "value"]
        if len(chosen) == 1 and len(random):
            effect = float(chosen["value"].iloc[0])
            count, p = as_large(-effect, -random.to_numpy(dtype=float))
            found[visible(str(student))] = {
                "heads": int(chosen["heads"].iloc[0]),
                "value": effect,
                "random": len(random),
                "as_large": count,
                "p": p_text(p),
                "stands_out": p <= SIGNIFICANT,
            }
    return found
