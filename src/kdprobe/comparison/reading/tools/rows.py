"""Recognises the samples of evaluation tools by their first row; all other rows are left as they are."""

from __future__ import annotations

from itertools import chain

from kdprobe.comparison.reading.columns import SAMPLE, Columns
from kdprobe.comparison.reading.delimited import Rows
from kdprobe.comparison.reading.tools.inspect_ai import InspectRows
from kdprobe.comparison.reading.tools.lighteval import LightevalRows
from kdprobe.comparison.reading.tools.lm_eval import LmEvalRows
from kdprobe.comparison.reading.tools.samples import METRICS, SampleRows


class ToolRows:
    """Reads rows: a tool's samples as flat rows, all others unchanged.

    Attributes:
        found: The tool's samples, or `None` if the rows are not a tool's.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._tools = (LmEvalRows(columns), InspectRows(columns), LightevalRows(columns))
        self.found: SampleRows | None = None

    def known(self, name: str) -> bool:
        """Whether a column of this name is kept."""
        own = {METRICS, SAMPLE[0], self.found.response, self.found.gold, self.found.id} if self.found else set()
        return name in own or self._columns.known(name)

    def read(self, rows: Rows) -> Rows:
        """The rows; calling it again starts over."""
        self.found = None
        first = next(rows, None)
        if first is None:
            return
        self.found = next((tool for tool in self._tools if tool.fits(first[1])), None)
        if self.found is None:
            yield from chain([first], rows)
        else:
            self.found.reset()
            yield from self.found.read(chain([first], rows))
