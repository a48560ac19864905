"""Registers the built-in problem sources."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import ProblemSourceSpec
from kdprobe.problems.sources import gsm8k, gsm_symbolic, jsonl


@hookimpl
def kdprobe_problem_sources() -> Iterator[ProblemSourceSpec]:
    """`gsm8k`, `jsonl` and `gsm-symbolic`."""
    yield ProblemSourceSpec(name="gsm8k", summary="GSM8K from the Hub", build=gsm8k.build, options=gsm8k.Gsm8kOptions)
    yield ProblemSourceSpec(
        name="jsonl",
        summary="Your own files in GSM8K's fields",
        build=jsonl.build,
        options=jsonl.JsonlOptions,
    )
    yield ProblemSourceSpec(
        name="gsm-symbolic",
        summary="Procedural problems from templates, offline",
        build=gsm_symbolic.build,
        options=gsm_symbolic.GsmSymbolicOptions,
    )
