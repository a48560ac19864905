"""Registers the built-in analyses and head metrics; torch and TransformerLens are imported only when one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from kdprobe.errors import UsageError
from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import AnalysisSpec, HeadMetricSpec, MetricNeed
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Need
from kdprobe.probing.built_in import BUILT_IN

_TOKENS: frozenset[MetricNeed] = frozenset({"tokens"})
_SPANS: frozenset[MetricNeed] = frozenset({"spans"})
_CAUSAL: frozenset[MetricNeed] = frozenset({"causal"})
_FORMATS = {
    "ablation": 7,
    "association": 2,
    "attention": 2,
    "attribution": 3,
    "circuits": 4,
    "contrast": 2,
    "divergence": 4,
    "drift": 2,
    "geometry": 2,
    "heads": 8,
    "patching": 5,
    "priming_heads": 2,
    "priming_map": 2,
}
"""Format numbers of the analyses whose results have changed since the first version."""
_SAMPLING = frozenset(
    {
        *("heads", "divergence", "association", "confidence", "drift", "output_divergence", "logit_lens"),
        *("contrast", "ablation", "patching", "circuits", "attribution"),
    }
)
"""The analyses whose intervals or tests treat problems as a sample."""
_ANY_PRECISION = frozenset(
    {"heads", "divergence", "attention", "association", "geometry", "priming_map", "priming_heads"}
)
"""The analyses that read attention patterns, which rounding to 16 bits moves little, only weights, or no student."""


@hookimpl
def kdprobe_analyses() -> Iterator[AnalysisSpec]:
    """The built-in analyses."""
    for name, module, needs, options, summary in BUILT_IN:
        yield AnalysisSpec(
            name=name,
            summary=summary,
            build=_analysis(module, needs),
            options=options,
            format=_FORMATS.get(name, 1),
            samples_problems=name in _SAMPLING,
            any_precision=name in _ANY_PRECISION,
        )


@hookimpl
def kdprobe_head_metrics() -> Iterator[HeadMetricSpec]:
    """The four published metrics, the same without the influence of length, and what heads attend to."""
    for name, unit, summary in (
        ("entropy", "nats", "Attention entropy"),
        ("self_attention", "", "Self-attention focus"),
        ("sparsity", "", "Sparsity (share of cells above 0.1)"),
        ("similarity", "", "Similarity to the layer below"),
    ):
        yield HeadMetricSpec(name=name, summary=summary, unit=unit, build=_function("published", name))
    for name, unit, summary, metric_needs in (
        ("entropy", "", "Attention entropy relative to uniform attention", _CAUSAL),
        ("self_attention", "", "Self-attention focus beyond uniform attention", _CAUSAL),
        ("sparsity", "keys", "Keys per query with attention above 0.1", frozenset()),
        ("similarity", "", "Similarity to the layer below, row by row", frozenset()),
    ):
        yield HeadMetricSpec(
            name=f"{name}_normalised",
            summary=summary,
            unit=unit,
            build=_function("normalised", name),
            needs=metric_needs,
        )
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
        needs=_CAUSAL,
    )
    yield HeadMetricSpec(
        name="duplicate_token",
        summary="Attention on earlier occurrences of the same token",
        build=_selection("duplicate_token"),
        needs=_TOKENS,
    )
    yield HeadMetricSpec(
        name="induction",
        summary="Attention on tokens that followed earlier occurrences of the same token",
        build=_selection("induction"),
        needs=_TOKENS,
    )
    yield HeadMetricSpec(
        name="answer_to_numbers",
        summary="Attention from the answer to the question's numbers",
        build=_selection("answer_to_numbers"),
        needs=_SPANS,
    )


@dataclass(frozen=True)
class _Analysis:
    """An analysis whose module is imported when it runs; planning only has to know its `needs`.

    Attributes:
        module: The module, below `kdprobe.probing`.
        needs: As for `Analysis`.
        options: Its options.
    """

    module: str
    needs: frozenset[Need]
    options: Any

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Analyses everything in the context."""
        result: AnalysisResult = import_module(f"kdprobe.probing.{self.module}").build(self.options).run(context)
        return result


def _analysis(module: str, needs: frozenset[Need]) -> Callable[[Any], _Analysis]:
    def build(options: Any) -> _Analysis:
        if module == "outputs.shapley" and find_spec("captum") is None:
            raise UsageError("The analysis 'shapley' needs captum.", "Install it with: pip install 'kdprobe[shapley]'")
        return _Analysis(module, needs, options)

    return build


def _function(module: str, name: str) -> Callable[[Any], Any]:
    return lambda _options: getattr(import_module(f"kdprobe.probing.metrics.{module}"), name)


def _selection(name: str) -> Callable[[Any], Any]:
    return lambda _options: import_module("kdprobe.probing.metrics.attention_to").attended(name)
