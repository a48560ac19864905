"""Probing: what an analysis is given and returns, measuring attention heads, and figures of heads."""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports
from kdprobe.probing.analysis import Analysis, AnalysisContext, AnalysisResult, Figure, Need
from kdprobe.probing.metrics.metric import HeadMetric, head_metrics_of

if TYPE_CHECKING:
    from kdprobe.probing.figures import FROM_WEIGHTS, change_maps, head_map
    from kdprobe.probing.metrics.measure import Measured, measure
    from kdprobe.probing.patterns.view import PatternView
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.probing.figures": ["FROM_WEIGHTS", "change_maps", "head_map"],
            "kdprobe.probing.metrics.measure": ["Measured", "measure"],
            "kdprobe.probing.patterns.view": ["PatternView"],
        },
    )

__all__ = [
    "FROM_WEIGHTS",
    "Analysis",
    "AnalysisContext",
    "AnalysisResult",
    "Figure",
    "HeadMetric",
    "Measured",
    "Need",
    "PatternView",
    "change_maps",
    "head_map",
    "head_metrics_of",
    "measure",
]
