"""The hooks a plugin may implement. Each is called once, when the host collects what plugins provide.

A hook returns an iterable of specs; a generator is fine. Any plugin may implement any of them, in any number. The one
exception is an observer, `kdprobe_stage_finished`: it is called after every stage of a run, and returns nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from kdprobe.host.specs import (
    AnalysisSpec,
    DistillerSpec,
    ExtractorSpec,
    HeadMetricSpec,
    ProblemSourceSpec,
    Spec,
    StrategySpec,
    TeacherSpec,
)
from kdprobe.host.stage import FinishedStage

GROUP = "kdprobe"
"""The entry-point group, and pluggy's project name."""

HOOK_API = 1
"""Goes up when hooks or records change in a way that plugins notice; a plugin says what it needs: `kdprobe_api = 1`."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def kdprobe_strategies() -> Iterable[StrategySpec]:
    """Prompt strategies: how a problem is put to the teacher, and how to the student.

    Example:
        >>> @hookimpl
        ... def kdprobe_strategies():
        ...     yield StrategySpec(name="step-back", summary="Principle first", build=build)
    """
    raise NotImplementedError


@hookspec
def kdprobe_teachers() -> Iterable[TeacherSpec]:
    """Teachers: models that answer, with their log-probabilities where they have them."""
    raise NotImplementedError


@hookspec
def kdprobe_distillers() -> Iterable[DistillerSpec]:
    """Distillers: what turns a transfer set into a LoRA adapter for the student."""
    raise NotImplementedError


@hookspec
def kdprobe_analyses() -> Iterable[AnalysisSpec]:
    """Analyses of students: tidy tables, figures, findings in sentences."""
    raise NotImplementedError


@hookspec
def kdprobe_head_metrics() -> Iterable[HeadMetricSpec]:
    """Head metrics: from a layer's attention patterns to one number per sequence and head.

    Example:
        >>> def first_token(view):
        ...     return view.mean_over_queries(view.pattern[..., 0])
        >>> @hookimpl
        ... def kdprobe_head_metrics():
        ...     yield HeadMetricSpec(name="first-token", summary="Sink", build=lambda options: first_token)
    """
    raise NotImplementedError


@hookspec
def kdprobe_problem_sources() -> Iterable[ProblemSourceSpec]:
    """Problem sources: where problems come from, by split."""
    raise NotImplementedError


@hookspec
def kdprobe_extractors() -> Iterable[ExtractorSpec]:
    """Extractors: how the final value is read out of an answer, and compared with the gold value."""
    raise NotImplementedError


@hookspec
def kdprobe_stage_finished(stage: FinishedStage) -> None:
    """Observes a run: called after each of its stages, made or already there, in the process that leads it.

    What an observer raises is a note on stderr; it never fails a run, nor changes one.
    """
    raise NotImplementedError


OBSERVER = "kdprobe_stage_finished"

HOOKS: dict[str, type[Spec]] = {
    "kdprobe_strategies": StrategySpec,
    "kdprobe_teachers": TeacherSpec,
    "kdprobe_distillers": DistillerSpec,
    "kdprobe_analyses": AnalysisSpec,
    "kdprobe_head_metrics": HeadMetricSpec,
    "kdprobe_problem_sources": ProblemSourceSpec,
    "kdprobe_extractors": ExtractorSpec,
}
"""Hook name to the type of record it returns."""
