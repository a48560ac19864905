"""What an analysis is given and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from kdprobe.problems.problem import Problem
from kdprobe.students.student import Student

if TYPE_CHECKING:
    import pandas as pd

Need = Literal["students", "problems"]


@dataclass(frozen=True)
class AnalysisContext:
    """What an analysis may look at.

    Attributes:
        students: The students, the untrained one first where there is one.
        problems: On which they are looked at: the first of the test problems.
        batch_size: Sequences at once.
    """

    students: Sequence[Student]
    problems: Sequence[Problem]
    batch_size: int


@dataclass(frozen=True)
class Figure:
    """A figure for the report.

    Attributes:
        title: What it shows.
        caption: How to read it, a sentence or two.
        plotly: A plotly figure as JSON-ready data (`plotly.graph_objects.Figure.to_plotly_json`).
    """

    title: str
    caption: str
    plotly: dict[str, Any]


@dataclass(frozen=True)
class AnalysisResult:
    """What an analysis returns.

    Attributes:
        tables: Name to a tidy table: one observation a row.
        figures: In the report's order.
        findings: Sentences that the figures support.
    """

    tables: Mapping[str, pd.DataFrame]
    figures: Sequence[Figure] = field(default_factory=tuple)
    findings: Sequence[str] = field(default_factory=tuple)


class Analysis(Protocol):
    """Looks at students.

    Attributes:
        needs: What it looks at.
    """

    needs: frozenset[Need]

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Runs over all students of the context."""
        ...
