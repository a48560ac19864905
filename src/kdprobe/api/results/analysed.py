"""Tables, figures and statements of analyses, from a run or from a call of `probe`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdprobe.errors import UsageError
from kdprobe.words import enumerated

if TYPE_CHECKING:
    import pandas as pd

_QUANTITIES = ("metric", "measure", "method", "switched", "direction", "by")
"""Columns in which rows of different quantities, or units, differ."""
_OWNERS = ("student", "strategy")
_PLACES = {"layer", "head", "index"}
_SHOWN = 12


@dataclass(frozen=True, eq=False, repr=False)
class Analysed:
    """The results of analyses; text from students is never interpreted as markup.

    Attributes:
        tables: For each analysis, its tables by name, with one observation per row.
        statements: For each analysis, sentences that its tables and figures support.
        plotly_data: For each analysis, its figures by title, as JSON-ready data.
    """

    tables: Mapping[str, Mapping[str, pd.DataFrame]]
    statements: Mapping[str, list[str]]
    plotly_data: Mapping[str, Mapping[str, dict[str, Any]]]

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """For each analysis, its figures by title, each a `plotly.graph_objects.Figure`."""
        import plotly.graph_objects as go

        from kdprobe.report.templates import safe_names

        return {
            analysis: {title: go.Figure(safe_names(data)) for title, data in figures.items()}
            for analysis, figures in self.plotly_data.items()
        }

    def table(self, name: str, analysis: str | None = None) -> pd.DataFrame:
        """Returns a table by its name.

        Args:
            name: The table's name.
            analysis: The analysis; only needed if several have a table of this name.

        Raises:
            UsageError: There is no such table, or there are several.
        """
        asked = self.tables if analysis is None else {analysis: self.tables.get(analysis, {})}
        found = {owner: tables[name] for owner, tables in asked.items() if name in tables}
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            raise UsageError(
                f"Several analyses have a table {name!r}.", f"Set analysis to {enumerated([*map(repr, found)], 'or')}."
            )
        listed = [f"{table} ({owner})" for owner, tables in self.tables.items() for table in tables]
        raise UsageError(f"There is no table {name!r}.", f"Available: {', '.join(listed) or 'none'}.")

    def top(self, k: int, table: str, analysis: str | None = None, *, by: str = "value", **where: Any) -> pd.DataFrame:
        """Returns the `k` rows of a table with the largest values, whatever their sign, for each student.

        `probed.top(5, "contrast", measure="effect")` has the five sites with the largest effects. Values of different
        quantities are not ranked together: choose one where the table has several. Where a table has the mean over
        problems beside the problems' own values, the mean is ranked unless `problem` chooses otherwise.

        Args:
            k: How many rows per student, or per strategy in tables of strategies.
            table: The table's name.
            analysis: The analysis; only needed if several have a table of this name.
            by: The column of numbers that decides; rows where it is missing are left out.
            where: The value that a column must have, or a list of values, as in `student="mine"`.

        Raises:
            UsageError: There is no such table, column or value, or the rows are of several quantities.
        """
        return top_rows(self.table(table, analysis), k, table, by, where)


def top_rows(table: pd.DataFrame, k: int, name: str, by: str, where: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of a table as `Analysed.top` selects them; raises likewise."""
    import pandas as pd

    from kdprobe.probing.tables import POOLED

    if k < 1:
        raise UsageError(f"k is {k}, so there is nothing to return.", "Set k to at least 1.")
    for column in (by, *where):
        if column not in table:
            raise UsageError(f"The table {name!r} has no column {column!r}.", f"It has {_listed(table.columns)}.")
    if not pd.api.types.is_numeric_dtype(table[by]) or pd.api.types.is_bool_dtype(table[by]):
        numbers = [column for column in table.select_dtypes("number") if column not in _PLACES]
        raise UsageError(f"The column {by!r} of {name!r} holds no numbers.", f"Set `by` to one of {_listed(numbers)}.")
    rows = table
    for column, wanted in where.items():
        values = wanted if isinstance(wanted, list | tuple | set) else [wanted]
        for value in values:
            if not (table[column] == value).any():
                raise UsageError(
                    f"No row of {name!r} has {column}={value!r}.", f"The values are {_listed(table[column].unique())}."
                )
        rows = rows[rows[column].isin(values)]
    if "problem" in rows and "problem" not in where and (pooled := rows["problem"] == POOLED).any():
        rows = rows[pooled]
    rows = rows[rows[by].notna()]
    for column in _QUANTITIES:
        if column in rows and column not in where and len(found := rows[column].dropna().unique()) > 1:
            raise UsageError(
                f"The rows of {name!r} differ in {column}, so they are not comparable: {_listed(found)}.",
                f"Choose one, as in {column}={found[0]!r}.",
            )
    leading = rows.loc[rows[by].abs().sort_values(ascending=False, kind="stable").index]
    owner = next((column for column in _OWNERS if column in rows), None)
    if owner is None:
        return leading.head(k).reset_index(drop=True)
    order = {student: place for place, student in enumerate(rows[owner].unique())}
    first = leading.groupby(owner, sort=False).head(k)
    return first.sort_values(owner, key=lambda names: names.map(order), kind="stable").reset_index(drop=True)


def _listed(values: Iterable[Any]) -> str:
    shown = [repr(value) for value in values]
    return ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")


class Tables(Mapping[str, "pd.DataFrame"]):
    """Tables in files, each read when it is first used.

    Args:
        files: The Parquet files by name.
    """

    def __init__(self, files: Mapping[str, Any]) -> None:
        self._files = files
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._read:
            import pandas as pd

            self._read[name] = pd.read_parquet(self._files[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
