"""Probing: what the heads of students do and cause, what their weights say of it, and what students put out."""

from typing import TYPE_CHECKING, Any

from kdprobe.probing.analysis import Analysis, AnalysisContext, AnalysisResult, Figure
from kdprobe.probing.labels import head_label

if TYPE_CHECKING:
    from kdprobe.probing.patterns.view import PatternView

__all__ = ["Analysis", "AnalysisContext", "AnalysisResult", "Figure", "PatternView", "head_label"]


def __getattr__(name: str) -> Any:
    # The view imports torch, which listing plugins must not.
    if name == "PatternView":
        from kdprobe.probing.patterns.view import PatternView

        return PatternView
    raise AttributeError(name)
