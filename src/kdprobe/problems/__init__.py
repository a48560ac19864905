"""Problems: the problem type, reading problems from files, and extracting and comparing the values of answers."""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports
from kdprobe.problems.answers import Extraction, extract, last_match, matches
from kdprobe.problems.problem import Problem, Split

if TYPE_CHECKING:
    from kdprobe.problems.arithmetic import Step, arithmetic_steps
    from kdprobe.problems.draw import normalised
    from kdprobe.problems.extractors import Extractor
    from kdprobe.problems.sources.jsonl import read as read_problems
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.problems.arithmetic": ["Step", "arithmetic_steps"],
            "kdprobe.problems.draw": ["normalised"],
            "kdprobe.problems.extractors": ["Extractor"],
            "kdprobe.problems.sources.jsonl": ["read as read_problems"],
        },
    )

__all__ = [
    "Extraction",
    "Extractor",
    "Problem",
    "Split",
    "Step",
    "arithmetic_steps",
    "extract",
    "last_match",
    "matches",
    "normalised",
    "read_problems",
]
