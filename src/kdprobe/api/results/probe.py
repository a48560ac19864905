"""The result of probing students."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.results.analysed import Analysed
from kdprobe.api.results.result import Result
from kdprobe.api.results.sections import Listed, Section

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.comparison.finding import Finding
    from kdprobe.models.conversation import Conversation
    from kdprobe.probing.analysis import AnalysisResult
    from kdprobe.probing.metrics.metric import HeadMetric
    from kdprobe.probing.patterns.files import PatternFile
    from kdprobe.problems.problem import Problem
    from kdprobe.students.student import Student


@dataclass(frozen=True, eq=False, repr=False)
class ProbeResult(Result):
    """The results of analyses of students, or of attention patterns.

    Attributes:
        details: The `kdprobe.probing.AnalysisResult` of each analysis.
        findings: What may be misleading, each with `code`, `evidence` and `action`.
        students: The students; the others are compared with the first.
        self_checks: For each student, the largest differences of its logits and patterns between TransformerLens and
            Hugging Face.
        problems: The problems that they read.
        patterns: Attention patterns from files or arrays.
        head_metrics: The available head metrics.
        conversation: What chat templates got besides the messages.
        page: The page written to `out`, or `None`.
    """

    details: Mapping[str, AnalysisResult]
    findings: Sequence[Finding]
    students: Sequence[Student]
    self_checks: Mapping[str, Mapping[str, float]]
    problems: Sequence[Problem]
    patterns: Sequence[PatternFile]
    head_metrics: Mapping[str, HeadMetric]
    conversation: Conversation
    page: Path | None

    @cached_property
    def analyses(self) -> Analysed:
        """The tables, statements and figures of all analyses."""
        return Analysed(
            tables={name: result.tables for name, result in self.details.items()},
            statements={name: list(result.statements) for name, result in self.details.items()},
            plotly_data={
                name: {figure.title: figure.plotly for figure in result.figures}
                for name, result in self.details.items()
            },
        )

    @property
    def tables(self) -> Mapping[str, Mapping[str, pd.DataFrame]]:
        """Tidy tables by analysis and name, with one observation per row."""
        return self.analyses.tables

    @property
    def statements(self) -> Mapping[str, list[str]]:
        """Sentences supported by the figures and tables, by analysis."""
        return self.analyses.statements

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """Figures as `plotly.graph_objects.Figure`, by analysis and title."""
        return self.analyses.figures

    def table(self, name: str, analysis: str | None = None) -> pd.DataFrame:
        """Returns a table by its name.

        Args:
            name: The table's name.
            analysis: Its analysis; needed if several analyses have a table with this name.

        Raises:
            UsageError: There is no such table, or there are several.
        """
        return self.analyses.table(name, analysis)

    def _data(self) -> dict[str, Any]:
        """The output of `kdprobe probe --json`."""
        from kdprobe.probing.metrics.measure import measure_file, per_layer

        return {
            "patterns": [
                {
                    "name": pattern.name,
                    "file": str(pattern.file) if pattern.file else None,
                    "per_layer": per_layer(measure_file(pattern, self.head_metrics)),
                }
                for pattern in self.patterns
            ],
            "students": [
                {
                    "name": student.name,
                    "model": student.base.as_provenance(),
                    "adapter": str(student.adapter) if student.adapter else None,
                    "self_check": self.self_checks.get(student.name),
                }
                for student in self.students
            ],
            "problems": [problem.id for problem in self.problems],
            "analyses": {
                name: {**result.summary, "statements": list(result.statements)} for name, result in self.details.items()
            },
            "page": str(self.page) if self.page else None,
            "findings": [asdict(finding) for finding in self.findings],
            **({"conversation": self.conversation.as_key()} if self.students else {}),
        }

    def _sections(self) -> Iterator[Section]:
        for name, sentences in self.statements.items():
            yield Listed(f"Inside the students ({name})", sentences)
        yield Listed("Findings", [str(finding) for finding in self.findings])
        yield Listed("Tables", [f"{name}: {', '.join(tables)}" for name, tables in self.tables.items()])
