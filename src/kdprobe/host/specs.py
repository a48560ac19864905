"""The records that hooks return: they describe what a plugin offers without building it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from pydantic import BaseModel

MetricNeed = Literal["tokens", "spans", "causal"]
"""What a head metric may read besides the patterns, or assume of them."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Something a plugin offers, by name.

    Attributes:
        name: Its name in configs and on the command line; unique among the specs of its kind.
        summary: One line for listings.
        build: Takes the validated options (an instance of `options`, or `None` if the spec has none) and returns the
            object itself. Put heavy imports inside it, so that listing plugins stays fast.
        options: A pydantic model of the options, or `None`.
        format: Raise it when the same input gives a different result. It is part of the key of every stage that uses
            the spec. Keys also contain the version and source of third-party plugins; for kdprobe's own specs, they
            contain only this number.
    """

    kind: ClassVar[str]

    name: str
    summary: str
    build: Callable[[Any], Any]
    options: type[BaseModel] | None = None
    format: int = 1


@dataclass(frozen=True, kw_only=True)
class StrategySpec(Spec):
    """A prompt strategy; `build` returns `(Problem) -> PromptPair`, pure and deterministic.

    Attributes:
        student_sees_gold: Whether the student's side contains the gold answer. Students are tested without it, so
            every output of a run says so.
    """

    kind: ClassVar[str] = "strategies"

    student_sees_gold: bool = False


@dataclass(frozen=True, kw_only=True)
class TeacherSpec(Spec):
    """A teacher; `build` returns a `kdprobe.teachers.Teacher`."""

    kind: ClassVar[str] = "teachers"


@dataclass(frozen=True, kw_only=True)
class DistillerSpec(Spec):
    """A distiller; `build` returns a `kdprobe.distill.Distiller`.

    Attributes:
        caution: A warning that every output of a run with its students shows. Empty for most.
    """

    kind: ClassVar[str] = "distillers"

    caution: str = ""


@dataclass(frozen=True, kw_only=True)
class AnalysisSpec(Spec):
    """An analysis; `build` returns a `kdprobe.probing.Analysis`.

    If it has an option `students`, a list of names, these are checked against the run's arms at planning time.

    Attributes:
        samples_problems: Whether its intervals or tests treat the problems that it reads as a sample. If it reads too
            few of them, plans and results say so; an option called `problems` is taken to be their number.
        any_precision: Whether it can examine students in bfloat16 or float16, as patterns from
            `AnalysisContext.bridges`; results then say how far rounding moves these. Others need float32.
    """

    kind: ClassVar[str] = "analyses"

    samples_problems: bool = False
    any_precision: bool = False


@dataclass(frozen=True, kw_only=True)
class HeadMetricSpec(Spec):
    """A head metric; `build` returns `(kdprobe.probing.PatternView) -> [batch, head]`.

    Attributes:
        unit: The unit of its values, for axes and tables, such as `nats`; empty for a share.
        needs: What it reads in addition to the patterns: `tokens`, `spans`; or `causal`, if its formula assumes that no
            token attends to later ones. Patterns from files have no spans and may lack the others; metrics that need
            what is missing are skipped there.
    """

    kind: ClassVar[str] = "head-metrics"

    unit: str = ""
    needs: frozenset[MetricNeed] = frozenset()


@dataclass(frozen=True, kw_only=True)
class ProblemSourceSpec(Spec):
    """A problem source; `build` returns `(split) -> iterable of Problem`.

    Attributes:
        finite: Whether it ends. If it might not, commands require the number of problems. A few-shot task takes its
            examples from all problems of a finite source.
        dataset: The id on the Hub of the data set that the problems are from, such as `openai/gsm8k`, for model cards;
            `None` if they are from none.
        counterfactuals: Takes the validated options and returns `(problem) -> iterable of Problem`: problems of the
            same form with a different gold value, such as the same text with different numbers, for analyses that
            contrast the two. The first whose tokens align with the problem's is used, so numbers should vary in length.
            They must not come from another split. `None` if the source has none.
    """

    kind: ClassVar[str] = "problem-sources"

    finite: bool = False
    dataset: str | None = None
    counterfactuals: Callable[[Any], Callable[[Any], Iterable[Any]]] | None = None


@dataclass(frozen=True, kw_only=True)
class ExtractorSpec(Spec):
    """An extractor; `build` returns a `kdprobe.problems.Extractor`."""

    kind: ClassVar[str] = "extractors"


@dataclass(frozen=True, kw_only=True)
class TaskSpec(Spec):
    """An lm-eval task; `build` returns the folder with its YAML, as a `pathlib.Path`.

    The spec's name is that of a task, group or tag in the folder. Options, if there are any, choose the folder.
    """

    kind: ClassVar[str] = "tasks"


@dataclass(frozen=True, kw_only=True)
class EngineSpec(Spec):
    """What runs students in evaluations; `build` returns a `kdprobe.evaluation.Engine` and loads nothing.

    Attributes:
        fast: Whether it is installed completely and usually answers faster than the built-in engine; `kdprobe eval`
            then recommends it.
    """

    kind: ClassVar[str] = "engines"

    fast: bool = False


@dataclass(frozen=True, kw_only=True)
class ExecutorSpec(Spec):
    """What runs the stages of an experiment; `build` returns a `kdprobe.experiment.Executor` and starts nothing."""

    kind: ClassVar[str] = "executors"


KINDS: tuple[type[Spec], ...] = (
    StrategySpec,
    TeacherSpec,
    DistillerSpec,
    AnalysisSpec,
    HeadMetricSpec,
    ProblemSourceSpec,
    ExtractorSpec,
    TaskSpec,
    EngineSpec,
    ExecutorSpec,
)
