"""Registers the built-in executor."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.experiment.executors.executor import LOCAL
from kdprobe.experiment.executors.local import LocalExecutor
from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import ExecutorSpec


@hookimpl
def kdprobe_executors() -> Iterator[ExecutorSpec]:
    """`local`."""
    yield ExecutorSpec(
        name=LOCAL, summary="this machine: one stage at a time, or several with --jobs", build=lambda _: LocalExecutor()
    )
