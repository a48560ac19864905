"""Problems: what a problem is, where problems come from, how an answer is read and compared."""

from kdprobe.problems.answers import Extraction, extract, matches
from kdprobe.problems.problem import Problem, Split

__all__ = ["Extraction", "Problem", "Split", "extract", "matches"]
