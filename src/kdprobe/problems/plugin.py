"""Registers the built-in problem sources and extractors."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import ExtractorSpec, ProblemSourceSpec
from kdprobe.problems import extractors
from kdprobe.problems.sources import gsm8k, gsm_symbolic, jsonl, other_numbers


@hookimpl
def kdprobe_problem_sources() -> Iterator[ProblemSourceSpec]:
    """`gsm8k`, `jsonl` and `gsm-symbolic`."""
    yield ProblemSourceSpec(
        name="gsm8k",
        summary="GSM8K from the Hub",
        build=gsm8k.build,
        options=gsm8k.Gsm8kOptions,
        finite=True,
        dataset=gsm8k.DATASET,
    )
    yield ProblemSourceSpec(
        name="jsonl",
        summary="Your own files, with GSM8K's fields",
        build=jsonl.build,
        options=jsonl.JsonlOptions,
        finite=True,
    )
    yield ProblemSourceSpec(
        name="gsm-symbolic",
        summary="Procedural problems from templates, offline",
        build=gsm_symbolic.build,
        options=gsm_symbolic.GsmSymbolicOptions,
        counterfactuals=other_numbers.build,
    )


@hookimpl
def kdprobe_extractors() -> Iterator[ExtractorSpec]:
    """`robust`, `published`, `strict` and `flexible`."""
    yield ExtractorSpec(
        name="robust",
        summary='Boxed, ####, "answer is" or, failing that, the last number; exact values',
        build=lambda _: extractors.Robust(),
    )
    yield ExtractorSpec(
        name="published",
        summary="The four rules of the response-priming paper, for replication",
        build=lambda _: extractors.Published(),
    )
    yield ExtractorSpec(
        name="strict",
        summary="lm-eval's strict-match for GSM8K, compared as strings",
        build=lambda _: extractors.strict(),
    )
    yield ExtractorSpec(
        name="flexible",
        summary="lm-eval's flexible-extract for GSM8K, compared as strings",
        build=lambda _: extractors.flexible(),
    )
