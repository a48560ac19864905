"""Did the way the teacher was prompted make a better student, and where inside the student does it show?

What a plugin needs is here at the top; importing it loads neither torch nor transformers.
"""

from importlib.metadata import PackageNotFoundError, version

from kdprobe.errors import KdprobeError
from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import (
    AnalysisSpec,
    DistillerSpec,
    ExtractorSpec,
    HeadMetricSpec,
    ProblemSourceSpec,
    StrategySpec,
    TeacherSpec,
)
from kdprobe.problems.answers import Extraction
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair

try:
    __version__ = version("kdprobe")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "AnalysisSpec",
    "DistillerSpec",
    "Extraction",
    "ExtractorSpec",
    "HeadMetricSpec",
    "KdprobeError",
    "Problem",
    "ProblemSourceSpec",
    "PromptPair",
    "StrategySpec",
    "TeacherSpec",
    "__version__",
    "hookimpl",
]
