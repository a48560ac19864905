"""One function for each command of the command line, and what nearly every plugin needs.

kdprobe asks whether prompting the teacher differently produces a better student, and where inside the student the
difference shows. Importing it loads neither torch nor transformers.
"""

from typing import TYPE_CHECKING

from kdprobe.errors import KdprobeError, NonFiniteError, UsageError
from kdprobe.host.candidates import own_version
from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import (
    AnalysisSpec,
    DistillerSpec,
    EngineSpec,
    ExecutorSpec,
    ExtractorSpec,
    HeadMetricSpec,
    ProblemSourceSpec,
    StrategySpec,
    TaskSpec,
    TeacherSpec,
)
from kdprobe.host.stage import FinishedStage
from kdprobe.lazy import lazy_exports
from kdprobe.problems.answers import Extraction
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair

if TYPE_CHECKING:
    from kdprobe.api.compare import CompareResult, compare
    from kdprobe.api.evaluate import evaluate
    from kdprobe.api.evaluated import EvaluateResult
    from kdprobe.api.plan import PlanResult, plan
    from kdprobe.api.probe import probe
    from kdprobe.api.results.evaluated_students import EvaluatedStudent
    from kdprobe.api.results.loadable import LoadedStudent
    from kdprobe.api.results.probe import ProbeResult
    from kdprobe.api.results.probed_students import ProbedStudent
    from kdprobe.api.results.run import RunResult
    from kdprobe.api.results.students import RunStudent
    from kdprobe.api.run import load_run, run
    from kdprobe.api.score import ScoreResult, score
    from kdprobe.api.tune import TuneResult, tune
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.api.compare": ["CompareResult", "compare"],
            "kdprobe.api.evaluate": ["evaluate"],
            "kdprobe.api.evaluated": ["EvaluateResult"],
            "kdprobe.api.plan": ["PlanResult", "plan"],
            "kdprobe.api.probe": ["probe"],
            "kdprobe.api.results.evaluated_students": ["EvaluatedStudent"],
            "kdprobe.api.results.loadable": ["LoadedStudent"],
            "kdprobe.api.results.probe": ["ProbeResult"],
            "kdprobe.api.results.probed_students": ["ProbedStudent"],
            "kdprobe.api.results.run": ["RunResult"],
            "kdprobe.api.results.students": ["RunStudent"],
            "kdprobe.api.run": ["load_run", "run"],
            "kdprobe.api.score": ["ScoreResult", "score"],
            "kdprobe.api.tune": ["TuneResult", "tune"],
        },
    )

__version__ = own_version()
"""The installed version of kdprobe."""

__all__ = [
    "AnalysisSpec",
    "CompareResult",
    "DistillerSpec",
    "EngineSpec",
    "EvaluateResult",
    "EvaluatedStudent",
    "ExecutorSpec",
    "Extraction",
    "ExtractorSpec",
    "FinishedStage",
    "HeadMetricSpec",
    "KdprobeError",
    "LoadedStudent",
    "NonFiniteError",
    "PlanResult",
    "ProbeResult",
    "ProbedStudent",
    "Problem",
    "ProblemSourceSpec",
    "PromptPair",
    "RunResult",
    "RunStudent",
    "ScoreResult",
    "StrategySpec",
    "TaskSpec",
    "TeacherSpec",
    "TuneResult",
    "UsageError",
    "__version__",
    "compare",
    "evaluate",
    "hookimpl",
    "load_run",
    "plan",
    "probe",
    "run",
    "score",
    "tune",
]
