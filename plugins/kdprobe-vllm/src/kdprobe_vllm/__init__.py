"""The engine `vllm`: vLLM runs the students of kdprobe's evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from kdprobe import EngineSpec, hookimpl
from kdprobe_vllm.options import VllmOptions

kdprobe_api = 5


@hookimpl
def kdprobe_engines() -> Iterator[EngineSpec]:
    """`vllm`."""
    yield EngineSpec(
        name="vllm",
        summary="vLLM: continuous batching, adapters as LoRA requests",
        build=_build,
        options=VllmOptions,
        fast=find_spec("vllm") is not None,
    )


def _build(options: VllmOptions) -> Any:
    from kdprobe_vllm.engine import VllmEngine

    return VllmEngine(options)
