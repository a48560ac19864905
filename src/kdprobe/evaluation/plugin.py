"""Registers the built-in engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import EngineSpec


@hookimpl
def kdprobe_engines() -> Iterator[EngineSpec]:
    """`transformers`."""
    yield EngineSpec(name="transformers", summary="transformers in this process, with any adapter", build=_build)


def _build(_options: None) -> Any:
    # The engine imports torch, and plans build it too.
    from kdprobe.evaluation.engines.builtin import TransformersEngine

    return TransformersEngine()
