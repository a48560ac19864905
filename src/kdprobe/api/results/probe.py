"""The result of probing students."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.results.analysed import Analysed
from kdprobe.api.results.result import Result
from kdprobe.api.results.sections import Listed, Section

if TYPE_CHECKING:
    from kdprobe.api.results.probed_students import ProbedStudents
    from kdprobe.comparison.finding import Finding
    from kdprobe.models.conversation import Conversation
    from kdprobe.probing.analysis import AnalysisResult
    from kdprobe.probing.metrics.metric import HeadMetric
    from kdprobe.probing.patterns.files import PatternFile
    from kdprobe.problems.problem import Problem


@dataclass(frozen=True, eq=False, repr=False)
class ProbeResult(Result, Analysed):
    """What analyses found inside students, or in attention patterns.

    Attributes:
        details: The `kdprobe.probing.AnalysisResult` of each analysis.
        findings: What may mislead, each with `code`, `evidence` and `action`.
        students: The students by name: `probed.students["mine"].load()`. The others are compared with the first.
        self_checks: For each student, the largest differences between TransformerLens and Hugging Face, in logits and
            in patterns.
        dtype: The data type of the students' weights.
        problems: The problems that the students read.
        patterns: Attention patterns from files or arrays.
        head_metrics: The head metrics.
        conversation: What chat templates receive besides the messages.
        page: The page that was written, or `None` without `out`.
    """

    details: Mapping[str, AnalysisResult]
    findings: Sequence[Finding]
    students: ProbedStudents
    self_checks: Mapping[str, Mapping[str, float]]
    dtype: str
    problems: Sequence[Problem]
    patterns: Sequence[PatternFile]
    head_metrics: Mapping[str, HeadMetric]
    conversation: Conversation
    page: Path | None

    @property
    def analyses(self) -> Analysed:
        """The result itself, so that code written for `RunResult.analyses` also works here."""
        return self

    def _data(self) -> dict[str, Any]:
        """The output of `kdprobe probe --json`."""
        from kdprobe.probing.metrics.measure import measure_file, per_layer

        return {
            "patterns": [
                {
                    "name": pattern.name,
                    "file": str(pattern.file) if pattern.file else None,
                    "prompts": [prompt.name for prompt in pattern.prompts],
                    "per_layer": per_layer(measure_file(pattern, self.head_metrics)),
                }
                for pattern in self.patterns
            ],
            "students": [
                {
                    "name": name,
                    "model": probed.student.base.as_provenance(),
                    "adapter": str(probed.adapter) if probed.adapter else None,
                    "self_check": self.self_checks.get(name),
                }
                for name, probed in self.students.items()
            ],
            "problems": [problem.id for problem in self.problems],
            "analyses": {
                name: {**result.summary, "statements": list(result.statements)} for name, result in self.details.items()
            },
            "page": str(self.page) if self.page else None,
            "findings": [asdict(finding) for finding in self.findings],
            **({"conversation": self.conversation.as_key(), "dtype": self.dtype} if self.students else {}),
        }

    def _sections(self) -> Iterator[Section]:
        for name, sentences in self.statements.items():
            yield Listed(f"Inside the students ({name})", sentences)
        yield Listed("Findings", [str(finding) for finding in self.findings])
        yield Listed("Tables", [f"{name}: {', '.join(tables)}" for name, tables in self.tables.items()])
