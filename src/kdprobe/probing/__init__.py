"""Probing: what the heads of students do, streamed over many problems, padding left out."""

from kdprobe.probing.analysis import Analysis, AnalysisContext, AnalysisResult, Figure

__all__ = ["Analysis", "AnalysisContext", "AnalysisResult", "Figure"]
