"""The records that hooks return: what a plugin offers, described without building it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Something a plugin offers, by name.

    Attributes:
        name: How configs and the command line call it; unique among the specs of its kind.
        summary: One line for listings.
        build: Takes the validated options (an instance of `options`, or `None` where the spec has none) and
            returns the thing itself. Heavy imports belong inside it, so that listing plugins stays quick.
        options: A pydantic model of the options, or `None`.
        format: Goes up when it makes something else of the same input. It is part of the key of every stage that
            uses it, beside the version and the source of a third party's plugin; kdprobe's own are keyed by it alone.
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
        student_sees_gold: Whether the student's side holds the gold answer. Students are tested without it, so every
            output of a run says so.
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
        caution: What everybody must know who sees its students; every output of a run names it. Empty for most.
    """

    kind: ClassVar[str] = "distillers"

    caution: str = ""


@dataclass(frozen=True, kw_only=True)
class AnalysisSpec(Spec):
    """An analysis; `build` returns a `kdprobe.probing.Analysis`.

    An option `students`, a list of names, is compared with a run's arms when the run is planned.
    """

    kind: ClassVar[str] = "analyses"


@dataclass(frozen=True, kw_only=True)
class HeadMetricSpec(Spec):
    """A head metric; `build` returns `(kdprobe.probing.PatternView) -> [batch, head]`.

    Attributes:
        unit: Of its values, for axes and tables, such as `nats`; empty for a share.
        needs: What it reads besides the patterns: `tokens`, `spans`. Patterns from files have neither, so metrics that
            need them are left out there.
    """

    kind: ClassVar[str] = "head-metrics"

    unit: str = ""
    needs: frozenset[Literal["tokens", "spans"]] = frozenset()


@dataclass(frozen=True, kw_only=True)
class ProblemSourceSpec(Spec):
    """A problem source; `build` returns `(split) -> iterable of Problem`.

    Attributes:
        finite: Whether it ends. Of one that may not, a command asks how many problems to take; a few-shot task takes
            its examples from all of one that does.
    """

    kind: ClassVar[str] = "problem-sources"

    finite: bool = False


@dataclass(frozen=True, kw_only=True)
class ExtractorSpec(Spec):
    """An extractor; `build` returns a `kdprobe.problems.Extractor`."""

    kind: ClassVar[str] = "extractors"


KINDS: tuple[type[Spec], ...] = (
    StrategySpec,
    TeacherSpec,
    DistillerSpec,
    AnalysisSpec,
    HeadMetricSpec,
    ProblemSourceSpec,
    ExtractorSpec,
)
