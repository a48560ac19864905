"""Probing: what students' heads do and cause, what their weights show, what students output, what priming does."""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports
from kdprobe.probing.analysis import Analysis, AnalysisContext, AnalysisResult, Figure, Need
from kdprobe.probing.labels import head_label
from kdprobe.probing.metrics.metric import HeadMetric, head_metrics_of

if TYPE_CHECKING:
    from kdprobe.probing.circuits.division import Division, divided
    from kdprobe.probing.circuits.effects import Switched, Update, switched_effects
    from kdprobe.probing.circuits.labels import Circuit
    from kdprobe.probing.contrast.pairs import ContrastPair, contrast_pair
    from kdprobe.probing.contrast.patched import Effects, patched_effects
    from kdprobe.probing.contrast.reading import ContrastReader, contrast_reader
    from kdprobe.probing.contrast.sites import Site
    from kdprobe.probing.figures import FROM_WEIGHTS, change_maps, head_map
    from kdprobe.probing.interventions.exact_effects import exact_effects
    from kdprobe.probing.interventions.forward import HeadOutputs, InMemory, Reader, head_outputs, reader
    from kdprobe.probing.interventions.replacement import Donor, ablated, patched
    from kdprobe.probing.metrics.measure import Measured, measure
    from kdprobe.probing.patterns.view import PatternView
    from kdprobe.probing.priming.teaching import Priming, Teaching
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.probing.circuits.division": ["Division", "divided"],
            "kdprobe.probing.circuits.effects": ["Switched", "Update", "switched_effects"],
            "kdprobe.probing.circuits.labels": ["Circuit"],
            "kdprobe.probing.contrast.pairs": ["ContrastPair", "contrast_pair"],
            "kdprobe.probing.contrast.patched": ["Effects", "patched_effects"],
            "kdprobe.probing.contrast.reading": ["ContrastReader", "contrast_reader"],
            "kdprobe.probing.contrast.sites": ["Site"],
            "kdprobe.probing.figures": ["FROM_WEIGHTS", "change_maps", "head_map"],
            "kdprobe.probing.interventions.exact_effects": ["exact_effects"],
            "kdprobe.probing.interventions.forward": ["HeadOutputs", "InMemory", "Reader", "head_outputs", "reader"],
            "kdprobe.probing.interventions.replacement": ["Donor", "ablated", "patched"],
            "kdprobe.probing.metrics.measure": ["Measured", "measure"],
            "kdprobe.probing.patterns.view": ["PatternView"],
            "kdprobe.probing.priming.teaching": ["Priming", "Teaching"],
        },
    )

__all__ = [
    "FROM_WEIGHTS",
    "Analysis",
    "AnalysisContext",
    "AnalysisResult",
    "Circuit",
    "ContrastPair",
    "ContrastReader",
    "Division",
    "Donor",
    "Effects",
    "Figure",
    "HeadMetric",
    "HeadOutputs",
    "InMemory",
    "Measured",
    "Need",
    "PatternView",
    "Priming",
    "Reader",
    "Site",
    "Switched",
    "Teaching",
    "Update",
    "ablated",
    "change_maps",
    "contrast_pair",
    "contrast_reader",
    "divided",
    "exact_effects",
    "head_label",
    "head_map",
    "head_metrics_of",
    "head_outputs",
    "measure",
    "patched",
    "patched_effects",
    "reader",
    "switched_effects",
]
