"""vLLM as the engine of kdprobe's evaluations, and as a teacher for models of any size."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from kdprobe import EngineSpec, TeacherSpec, hookimpl
from kdprobe_vllm.options import VllmOptions, VllmTeacherOptions

kdprobe_api = 5


@hookimpl
def kdprobe_engines() -> Iterator[EngineSpec]:
    """`vllm`."""
    yield EngineSpec(
        name="vllm",
        summary="vLLM: continuous batching, adapters as LoRA requests",
        build=_engine,
        options=VllmOptions,
        fast=find_spec("vllm") is not None,
    )


@hookimpl
def kdprobe_teachers() -> Iterator[TeacherSpec]:
    """`vllm`."""
    yield TeacherSpec(
        name="vllm",
        summary="vLLM: a model on one or several GPUs; gives answers and log-probabilities",
        build=_teacher,
        options=VllmTeacherOptions,
    )


def _engine(options: VllmOptions) -> Any:
    from kdprobe_vllm.engine import VllmEngine

    return VllmEngine(options)


def _teacher(options: VllmTeacherOptions) -> Any:
    from kdprobe_vllm.teacher import VllmTeacher

    return VllmTeacher(options)
