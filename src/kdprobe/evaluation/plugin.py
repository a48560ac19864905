"""Registers the built-in engine, and the built-in tasks besides the deciding one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kdprobe.evaluation.engines.engine import BUILT_IN
from kdprobe.evaluation.protocol import RETENTION_TASK, task_folder
from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import EngineSpec, TaskSpec


@hookimpl
def kdprobe_engines() -> Iterator[EngineSpec]:
    """`transformers`."""
    yield EngineSpec(name=BUILT_IN, summary="transformers in this process, with any adapter", build=_build)


@hookimpl
def kdprobe_tasks() -> Iterator[TaskSpec]:
    """`basics_kdprobe`, a retention task."""
    yield TaskSpec(
        name=RETENTION_TASK,
        summary="Four-way multiple choice on English verb forms, and on cities and countries; offline, no arithmetic",
        build=lambda _: task_folder() / RETENTION_TASK,
    )


def _build(_options: None) -> Any:
    # The engine imports torch, and plans build it too.
    from kdprobe.evaluation.engines.builtin import TransformersEngine

    return TransformersEngine()
