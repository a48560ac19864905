"""Registers the built-in analyses and head metrics; torch and TransformerLens are imported only when one is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Literal

from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import AnalysisSpec, HeadMetricSpec
from kdprobe.probing.analysis import Analysis
from kdprobe.probing.options import ShapleyOptions

_TOKENS: frozenset[Literal["tokens", "spans"]] = frozenset({"tokens"})
_SPANS: frozenset[Literal["tokens", "spans"]] = frozenset({"spans"})


def _heads(options: None) -> Analysis:
    from kdprobe.probing.heads import build

    return build(options)


def _shapley(options: ShapleyOptions) -> Analysis:
    from kdprobe.probing.shapley import build

    return build(options)


@hookimpl
def kdprobe_analyses() -> Iterator[AnalysisSpec]:
    """`heads` and `shapley`."""
    yield AnalysisSpec(
        name="heads", summary="Entropy, self-attention, sparsity, similarity of every head", build=_heads
    )
    yield AnalysisSpec(
        name="shapley",
        summary="Which words of the question carry the gold solution, by Shapley values",
        build=_shapley,
        options=ShapleyOptions,
    )


@hookimpl
def kdprobe_head_metrics() -> Iterator[HeadMetricSpec]:
    """The published four, the same without the influence of length, and where heads look."""

    def function(module: str, name: str) -> Callable[[Any], Any]:
        return lambda _options: getattr(import_module(f"kdprobe.probing.metrics.{module}"), name)

    def selection(name: str) -> Callable[[Any], Any]:
        return lambda _options: import_module("kdprobe.probing.metrics.attended").attended(name)

    for name, unit, summary in (
        ("entropy", "nats", "Attention entropy"),
        ("self_attention", "", "Self-attention focus: mean of the diagonal"),
        ("sparsity", "", "Share of cells above 0.1"),
        ("similarity", "", "Cosine with the layer below"),
    ):
        yield HeadMetricSpec(
            name=name, summary=f"{summary}, as published", unit=unit, build=function("published", name)
        )
    for name, unit, summary in (
        ("entropy", "", "Entropy over that of uniform attention"),
        ("self_attention", "", "Diagonal beyond uniform attention"),
        ("sparsity", "keys", "Keys above 0.1 of a query"),
        ("similarity", "", "Cosine with the layer below, row by row"),
    ):
        yield HeadMetricSpec(name=f"{name}_normalised", summary=summary, unit=unit, build=function("normalised", name))
    yield HeadMetricSpec(name="sink", summary="Attention on the first token", build=selection("sink"))
    yield HeadMetricSpec(
        name="previous_token", summary="Attention on the token before", build=selection("previous_token")
    )
    yield HeadMetricSpec(
        name="mean_distance", summary="How far back attention reaches", unit="tokens", build=selection("mean_distance")
    )
    yield HeadMetricSpec(
        name="duplicate_token",
        summary="Attention on earlier occurrences of the same token",
        build=selection("duplicate_token"),
        needs=_TOKENS,
    )
    yield HeadMetricSpec(
        name="induction",
        summary="Attention on what followed earlier occurrences",
        build=selection("induction"),
        needs=_TOKENS,
    )
    yield HeadMetricSpec(
        name="answer_to_numbers",
        summary="Attention from the answer on the question's numbers",
        build=selection("answer_to_numbers"),
        needs=_SPANS,
    )
