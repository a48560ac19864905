"""What a student's heads write, computed from their weights, and where their attention ultimately comes from."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from kdprobe import AnalysisSpec, HeadMetricSpec, hookimpl
from kdprobe_circuits.options import CopyingOptions, SuccessorOptions


def _built(module: str) -> Callable[[Any], Any]:
    # torch is imported only when an analysis or metric is built.
    return lambda options: import_module(f"kdprobe_circuits.{module}").build(options)


@hookimpl
def kdprobe_analyses() -> Iterator[AnalysisSpec]:
    """`ov-copying` and `successor-heads`."""
    yield AnalysisSpec(
        name="ov-copying",
        summary="Which heads copy what they attend to, from their weights",
        build=_built("copying"),
        options=CopyingOptions,
        format=2,
    )
    yield AnalysisSpec(
        name="successor-heads",
        summary="Which heads turn a number into the next one, from their weights",
        build=_built("successor"),
        options=SuccessorOptions,
        format=2,
    )


@hookimpl
def kdprobe_head_metrics() -> Iterator[HeadMetricSpec]:
    """`rollout_to_numbers`."""
    yield HeadMetricSpec(
        name="rollout_to_numbers",
        summary="Share of the answer's attention that traces back to the question's numbers (attention rollout)",
        build=_built("rollout"),
        needs=frozenset({"spans"}),
    )
