"""Probing: what the heads of students do, streamed over many problems, padding left out."""

from typing import TYPE_CHECKING, Any

from kdprobe.probing.analysis import Analysis, AnalysisContext, AnalysisResult, Figure

if TYPE_CHECKING:
    from kdprobe.probing.patterns.view import PatternView

__all__ = ["Analysis", "AnalysisContext", "AnalysisResult", "Figure", "PatternView"]


def __getattr__(name: str) -> Any:
    # The view imports torch, which listing plugins must not.
    if name == "PatternView":
        from kdprobe.probing.patterns.view import PatternView

        return PatternView
    raise AttributeError(name)
