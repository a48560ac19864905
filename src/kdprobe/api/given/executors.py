"""What runs the stages of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdprobe.api.given.inputs import checked_options, create, refuse_strays

if TYPE_CHECKING:
    from kdprobe.api.given.inputs import Options
    from kdprobe.experiment.executors.executor import Executor
    from kdprobe.host.registry import Host


@dataclass(frozen=True)
class Runs:
    """How stages are run.

    Attributes:
        executor: What runs them.
        jobs: How many may run at the same time; `None` leaves that to the executor.
    """

    executor: Executor
    jobs: int | None


def given_executor(host: Host, name: str, options: Options | None) -> Executor:
    """The executor of this name.

    Raises:
        UsageError: There is no such executor, its options have errors, or there are options of something else.
    """
    given = checked_options(options)
    refuse_strays(given, {name})
    executor: Executor = create(host, "executors", name, given)
    return executor
