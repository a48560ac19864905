"""Tables, figures and statements of analyses, from a run or from a call of `probe`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdprobe.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


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
                f"Several analyses have a table {name!r}.", f"Set analysis to {' or '.join(map(repr, found))}."
            )
        listed = [f"{table} ({owner})" for owner, tables in self.tables.items() for table in tables]
        raise UsageError(f"There is no table {name!r}.", f"Available: {', '.join(listed) or 'none'}.")


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
