"""What nearly every plugin needs: the hook marker, the records that hooks return, problems and prompts.

kdprobe asks: did the way the teacher was prompted make a better student, and where inside the student does it show?
Importing it loads neither torch nor transformers.
"""

from kdprobe.errors import KdprobeError, NonFiniteError
from kdprobe.host.candidates import own_version
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
from kdprobe.host.stage import FinishedStage
from kdprobe.problems.answers import Extraction
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair

__version__ = own_version()
"""The installed version of kdprobe."""

__all__ = [
    "AnalysisSpec",
    "DistillerSpec",
    "Extraction",
    "ExtractorSpec",
    "FinishedStage",
    "HeadMetricSpec",
    "KdprobeError",
    "NonFiniteError",
    "Problem",
    "ProblemSourceSpec",
    "PromptPair",
    "StrategySpec",
    "TeacherSpec",
    "__version__",
    "hookimpl",
]
