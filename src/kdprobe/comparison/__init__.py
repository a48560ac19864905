"""Comparison: files of answers read and scored, arms compared problem by problem, and published claims checked."""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports

if TYPE_CHECKING:
    from kdprobe.comparison.answers import Outputs, read_outputs
    from kdprobe.comparison.arms import Arm
    from kdprobe.comparison.claims import Claim, claim_findings
    from kdprobe.comparison.compare import compare as compare_arms
    from kdprobe.comparison.finding import Finding
    from kdprobe.comparison.findings import budget as token_budget
    from kdprobe.comparison.reading.columns import Columns
    from kdprobe.comparison.result import ArmScore, Comparison, Pair
    from kdprobe.comparison.scoring import Score, scores
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.comparison.answers": ["Outputs", "read_outputs"],
            "kdprobe.comparison.arms": ["Arm"],
            "kdprobe.comparison.claims": ["Claim", "claim_findings"],
            "kdprobe.comparison.compare": ["compare as compare_arms"],
            "kdprobe.comparison.finding": ["Finding"],
            "kdprobe.comparison.findings": ["budget as token_budget"],
            "kdprobe.comparison.reading.columns": ["Columns"],
            "kdprobe.comparison.result": ["ArmScore", "Comparison", "Pair"],
            "kdprobe.comparison.scoring": ["Score", "scores"],
        },
    )

__all__ = [
    "Arm",
    "ArmScore",
    "Claim",
    "Columns",
    "Comparison",
    "Finding",
    "Outputs",
    "Pair",
    "Score",
    "claim_findings",
    "compare_arms",
    "read_outputs",
    "scores",
    "token_budget",
]
