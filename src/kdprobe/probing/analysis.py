"""The interface of analyses: their input and their output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from kdprobe.errors import KdprobeError
from kdprobe.models.reference import Precision
from kdprobe.probing.precision import CHECKED, rounding
from kdprobe.problems.problem import Problem
from kdprobe.students.pool import StudentPool
from kdprobe.students.student import Student
from kdprobe.words import enumerated

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.comparison.finding import Finding
    from kdprobe.probing.metrics.metric import HeadMetric
    from kdprobe.probing.patterns.files import PatternFile
    from kdprobe.probing.priming.teaching import Teaching
    from kdprobe.problems.counterfactuals import Counterfactuals
    from kdprobe.students.bridges import Bridges
    from kdprobe.students.sequence import ProblemSequence

Need = Literal["patterns", "students", "problems", "scores", "teaching", "counterfactuals"]
"""What an analysis may need: attention patterns, the models themselves, problems, records of the evaluation, what the
teacher read and wrote, or a problem source that offers counterfactuals."""


@dataclass(frozen=True)
class AnalysisContext:
    """What an analysis may examine.

    Attributes:
        students: The students; the others are compared with the first. Students with the same `arm` are replicates that
            differ by their `seed`.
        problems: The problems they are examined on: the first of the test problems.
        batch_size: Sequences per batch.
        seed: Seed of everything drawn at random.
        patterns: Attention patterns from files, with no student behind them.
        records: Each student's records of the evaluation, as in `records.parquet`; for analyses that need scores.
        head_metrics: All head metrics provided by plugins, by name.
        pool: The loaded students; shared by the analyses of a run.
        template_of: The student whose chat template renders the problems for all; by default the first.
        teaching: What the teacher of an experiment read and wrote. An analysis that needs nothing else runs before
            training, and has no students.
        dtype: Data type of the students' weights. Analyses that need float32 are refused any other.
        counterfactuals: Yields problems of the same form with a different gold value; `None` if the source offers none.
    """

    students: Sequence[Student] = ()
    problems: Sequence[Problem] = ()
    batch_size: int = 8
    seed: int = 0
    patterns: Sequence[PatternFile] = ()
    records: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    head_metrics: Mapping[str, HeadMetric] = field(default_factory=dict)
    pool: StudentPool = field(default_factory=StudentPool, compare=False, repr=False)
    template_of: str | None = None
    teaching: Teaching | None = field(default=None, compare=False, repr=False)
    counterfactuals: Counterfactuals | None = None
    dtype: Precision = "float32"

    @property
    def sequences(self) -> list[ProblemSequence]:
        """What every student reads of each problem, in order.

        Raises:
            UsageError: A student's tokenizer turns a problem into different tokens.
        """
        return self._reading[0]

    @property
    def findings(self) -> list[Finding]:
        """Students whose own chat template renders the problems differently; raises like `sequences`."""
        return self._reading[1]

    @cached_property
    def _reading(self) -> tuple[list[ProblemSequence], list[Finding]]:
        from kdprobe.probing.shared_sequences import shared_sequences

        # Once for all analyses of a run, which share a pool.
        key = ("read", tuple(self.students), tuple(self.problems), self.template_of)
        return self.pool.once(key, lambda: shared_sequences(self.students, self.problems, self.template_of))

    @cached_property
    def bridges(self) -> Bridges:
        """The students in TransformerLens: `bridges.boot(name)`; adapters share one loaded base."""
        return self.pool.bridges(self.students, [sequence.ids for sequence in self.sequences[:CHECKED]], self.dtype)

    @property
    def samples(self) -> int:
        """The number of problems that students read, or of prompts in the first pattern file."""
        return len(self.patterns[0].prompts) if self.patterns else len(self.problems)

    @property
    def has(self) -> frozenset[Need]:
        """The needs that are met; patterns come from files, or from students that read problems."""
        available: dict[Need, bool] = {
            "patterns": bool(self.patterns or (self.students and self.problems)),
            "students": bool(self.students),
            "problems": bool(self.problems),
            "scores": bool(self.records),
            "teaching": self.teaching is not None,
            "counterfactuals": self.counterfactuals is not None,
        }
        return frozenset(need for need, present in available.items() if present)


@dataclass(frozen=True)
class Figure:
    """A figure for the report.

    Attributes:
        title: Its title in the report.
        caption: How to read it, in a sentence or two.
        plotly: A plotly figure as JSON-ready data (`plotly.graph_objects.Figure.to_plotly_json`).
    """

    title: str
    caption: str
    plotly: dict[str, Any]


@dataclass(frozen=True)
class AnalysisResult:
    """What an analysis returns.

    Attributes:
        tables: Tidy tables by name: one observation per row.
        figures: In the report's order.
        statements: Sentences supported by the figures and tables.
        summary: A few numbers for `--json`, serialisable as JSON.
    """

    tables: Mapping[str, pd.DataFrame]
    figures: Sequence[Figure] = field(default_factory=tuple)
    statements: Sequence[str] = field(default_factory=tuple)
    summary: Mapping[str, Any] = field(default_factory=dict)


class Analysis(Protocol):
    """Examines patterns or students.

    Attributes:
        needs: What it examines. Analyses that need only `patterns` work on pattern files and on students; analyses that
            need `students` get the models themselves.
    """

    needs: frozenset[Need]

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Analyses everything in the context."""
        ...


def run_analysis(name: str, analysis: Analysis, context: AnalysisContext) -> AnalysisResult:
    """Runs an analysis on a context that has what it needs.

    Raises:
        KdprobeError: The context lacks something.
    """
    if missing := sorted(analysis.needs - context.has):
        available = ", ".join(sorted(context.has)) or "nothing"
        raise KdprobeError(
            f"The analysis {name!r} needs {enumerated(missing)}. Available here: {available}.",
            "Scores and teaching (what the teacher read and wrote) come from an experiment, students from a model, "
            "patterns from files or students, and counterfactuals from a problem source that offers them, such as "
            "gsm-symbolic.",
        )
    result = analysis.run(context)
    if context.dtype == "float32" or not analysis.needs & {"patterns", "problems"}:
        return result
    found = rounding(context.bridges, len(context.problems))
    if found is None:
        return result
    table, sentence = found
    return replace(result, tables={**result.tables, "rounding": table}, statements=[*result.statements, sentence])
