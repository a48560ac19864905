"""A test kit for plugins: `pytest_plugins = ["kdprobe.testing"]` in a test module or a conftest.py.

It provides a host with only the plugin under test, a tiny random model, problems, and for each kind of plugin a check
that raises `ContractError` with a sentence. torch is imported only when a fixture needs it. (PYTEST_DONT_REWRITE:
nothing here asserts, and a test module that imports from here must not get a warning.)
"""

from kdprobe.testing.analysis import check_analysis
from kdprobe.testing.contract import ContractError
from kdprobe.testing.distiller import check_distiller
from kdprobe.testing.engine import check_engine
from kdprobe.testing.executor import check_executor
from kdprobe.testing.extractor import check_extractor
from kdprobe.testing.fixtures import (
    analysis_context,
    conversations,
    problems,
    tiny_model,
    tiny_record,
    tiny_teacher,
    tiny_transfer_set,
    train_context,
)
from kdprobe.testing.head_metric import check_head_metric
from kdprobe.testing.hosts import host_with
from kdprobe.testing.models import write_random_adapter, write_tiny_model
from kdprobe.testing.problem_source import check_problem_source
from kdprobe.testing.strategy import check_strategy
from kdprobe.testing.task import check_task
from kdprobe.testing.teacher import check_teacher
from kdprobe.testing.word_problems import problem_rows, some_problems

__all__ = [
    "ContractError",
    "analysis_context",
    "check_analysis",
    "check_distiller",
    "check_engine",
    "check_executor",
    "check_extractor",
    "check_head_metric",
    "check_problem_source",
    "check_strategy",
    "check_task",
    "check_teacher",
    "conversations",
    "host_with",
    "problem_rows",
    "problems",
    "some_problems",
    "tiny_model",
    "tiny_record",
    "tiny_teacher",
    "tiny_transfer_set",
    "train_context",
    "write_random_adapter",
    "write_tiny_model",
]
