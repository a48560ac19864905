"""Registers the built-in analyses and head metrics; torch and TransformerLens are imported only when one is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Literal

from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import AnalysisSpec, HeadMetricSpec
from kdprobe.probing.interventions.options import AblationOptions, AttributionOptions, PatchingOptions, ShapleyOptions
from kdprobe.probing.options import (
    AssociationOptions,
    AttentionOptions,
    ConfidenceOptions,
    DivergenceOptions,
    HeadsOptions,
)

_TOKENS: frozenset[Literal["tokens", "spans"]] = frozenset({"tokens"})
_SPANS: frozenset[Literal["tokens", "spans"]] = frozenset({"spans"})
_FORMATS = {"ablation": 4, "attribution": 2, "divergence": 2, "geometry": 2, "heads": 2}
"""Format numbers of the analyses whose results have changed since the first version."""


@hookimpl
def kdprobe_analyses() -> Iterator[AnalysisSpec]:
    """The built-in analyses."""
    for name, module, summary, options in (
        ("heads", "attention.heads", "All head metrics with intervals, and which heads moved", HeadsOptions),
        (
            "divergence",
            "attention.divergence",
            "How far students' attention diverges, head by head",
            DivergenceOptions,
        ),
        ("attention", "attention.maps", "What chosen heads attend to, token by token", AttentionOptions),
        (
            "association",
            "attention.association",
            "Is a head's metric associated with correct answers? Needs scores",
            AssociationOptions,
        ),
        (
            "confidence",
            "outputs.confidence",
            "Is a student more confident in its correct answers? Needs scores",
            ConfidenceOptions,
        ),
        (
            "geometry",
            "weights.geometry",
            "How much training changed every head's QK and OV circuits, from the weights",
            None,
        ),
        (
            "ablation",
            "interventions.ablation",
            "Which heads a student relies on, and how far they changed",
            AblationOptions,
        ),
        ("patching", "interventions.patching", "Which heads carry the gain from training", PatchingOptions),
        (
            "attribution",
            "outputs.logit_attribution",
            "What every head contributes directly to the logits of the gold tokens",
            AttributionOptions,
        ),
        (
            "shapley",
            "outputs.shapley",
            "Which words of the question carry the gold solution; needs captum",
            ShapleyOptions,
        ),
    ):
        yield AnalysisSpec(
            name=name, summary=summary, build=_analysis(module), options=options, format=_FORMATS.get(name, 1)
        )


@hookimpl
def kdprobe_head_metrics() -> Iterator[HeadMetricSpec]:
    """The four published metrics, the same without the influence of length, and what heads attend to."""
    for name, unit, summary in (
        ("entropy", "nats", "Attention entropy"),
        ("self_attention", "", "Self-attention focus"),
        ("sparsity", "", "Sparsity: cells above 0.1"),
        ("similarity", "", "Similarity to the layer below"),
    ):
        yield HeadMetricSpec(name=name, summary=summary, unit=unit, build=_function("published", name))
    for name, unit, summary in (
        ("entropy", "", "Attention entropy relative to uniform attention"),
        ("self_attention", "", "Self-attention focus beyond uniform attention"),
        ("sparsity", "keys", "Keys above 0.1, per query"),
        ("similarity", "", "Similarity to the layer below, row by row"),
    ):
        yield HeadMetricSpec(name=f"{name}_normalised", summary=summary, unit=unit, build=_function("normalised", name))
    yield HeadMetricSpec(name="sink", summary="Attention on the first token", build=_selection("sink"))
    yield HeadMetricSpec(
        name="learned_sink",
        summary="Attention to a learned sink, which is not a token",
        build=_function("attention_to", "learned_sink"),
    )
    yield HeadMetricSpec(
        name="previous_token", summary="Attention on the previous token", build=_selection("previous_token")
    )
    yield HeadMetricSpec(
        name="mean_distance",
        summary="Mean attention distance, as a share of the distance to the first token",
        build=_selection("mean_distance"),
    )
    yield HeadMetricSpec(
        name="duplicate_token",
        summary="Attention on earlier occurrences of the same token",
        build=_selection("duplicate_token"),
        needs=_TOKENS,
    )
    yield HeadMetricSpec(
        name="induction",
        summary="Attention on tokens that followed earlier occurrences",
        build=_selection("induction"),
        needs=_TOKENS,
    )
    yield HeadMetricSpec(
        name="answer_to_numbers",
        summary="Attention from the answer to the question's numbers",
        build=_selection("answer_to_numbers"),
        needs=_SPANS,
    )


def _analysis(module: str) -> Callable[[Any], Any]:
    return lambda options: import_module(f"kdprobe.probing.{module}").build(options)


def _function(module: str, name: str) -> Callable[[Any], Any]:
    return lambda _options: getattr(import_module(f"kdprobe.probing.metrics.{module}"), name)


def _selection(name: str) -> Callable[[Any], Any]:
    return lambda _options: import_module("kdprobe.probing.metrics.attention_to").attended(name)
