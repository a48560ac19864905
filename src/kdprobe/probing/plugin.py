"""Registers the built-in analyses; TransformerLens is imported only when one is built."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import AnalysisSpec
from kdprobe.probing.analysis import Analysis


def _heads(options: None) -> Analysis:
    from kdprobe.probing.heads import build

    return build(options)


@hookimpl
def kdprobe_analyses() -> Iterator[AnalysisSpec]:
    """`heads`."""
    yield AnalysisSpec(
        name="heads", summary="Entropy, self-attention, sparsity, similarity of every head", build=_heads
    )
