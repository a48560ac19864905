"""Procedural problems in the manner of GSM-Symbolic, offline, through `reasoning-gym`.

Mirzadeh et al., "GSM-Symbolic" (2024), arXiv 2410.05229. A problem's group is its template.

Splits are disjoint by construction: the digest of a question decides which split may draw it, regardless of the seed,
the count or the order of drawing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.problems.problem import Problem, Split
from kdprobe.words import counted

TEMPLATES = 100
_SHARES: dict[Split, tuple[int, ...]] = {"teacher": (0, 1), "transfer": (2,), "test": (3,)}
_MOST_MISSES = 2_000
Draw = Callable[[Random, float], dict[str, Any]]
"""One of reasoning-gym's templates: takes random numbers and a difficulty."""


class GsmSymbolicOptions(BaseModel):
    """Options of the source `gsm-symbolic`."""

    model_config = ConfigDict(extra="forbid")

    templates: list[int] = Field(min_length=1, description=f"Template numbers, 0 to {TEMPLATES - 1}.")
    seed: int = Field(default=0, description="Seed of the random draws.")

    @field_validator("templates")
    @classmethod
    def _check_templates(cls, templates: list[int]) -> list[int]:
        if unknown := [template for template in templates if not 0 <= template < TEMPLATES]:
            raise ValueError(f"there is no template {unknown[0]} (0 to {TEMPLATES - 1})")
        if len(set(templates)) < len(templates):
            raise ValueError("a template is listed twice")
        return templates


def build(options: GsmSymbolicOptions) -> Callable[[Split], Iterator[Problem]]:
    """An endless source that draws from the templates in turn."""

    def problems(split: Split) -> Iterator[Problem]:
        generators = generators_of()
        # One stream per template and split, so that drawing more from one never changes another.
        streams = [_draws(generators[t], t, split, options.seed) for t in options.templates]
        while True:
            for stream in streams:
                yield next(stream)

    return problems


def split_of(question: str) -> Split:
    """The one split that may draw this question."""
    share = int.from_bytes(hashlib.sha256(question.encode()).digest()[:4]) % 4
    return next(split for split, shares in _SHARES.items() if share in shares)


def problem_of(drawn: dict[str, Any], id_: str, group: str | None) -> Problem:
    """What a template drew, as a problem."""
    row = {"question": drawn["question"], "answer": drawn["metadata"]["answer_cot"]}
    return Problem.from_gsm8k(id_, row, group=group)


def _draws(generate: Draw, template: int, split: Split, seed: int) -> Iterator[Problem]:
    random = Random(f"{seed}/{template}/{split}")  # noqa: S311 - not for secrets
    seen: set[str] = set()
    misses = 0
    while misses < _MOST_MISSES:
        drawn = generate(random, 1.0)
        question = drawn["question"].strip()
        if question in seen or split_of(question) != split:
            misses += 1
            continue
        seen.add(question)
        misses = 0
        yield problem_of(drawn, f"{split}-{template}-{len(seen)}", f"template-{template}")
    raise KdprobeError(
        f"Template {template} has only {counted(len(seen), 'distinct problem')} for the {split} split.",
        "Request fewer problems, or list more templates.",
    )


def generators_of() -> dict[int, Draw]:
    """All templates, by number.

    Raises:
        UsageError: reasoning-gym is not installed.
    """
    try:
        from reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic import (
            GSMSymbolicDataset,
            GSMSymbolicDatasetConfig,
        )
    except ModuleNotFoundError as error:
        raise UsageError(
            "The problem source 'gsm-symbolic' needs the package reasoning-gym.",
            "Install it with: pip install 'kdprobe[embedded]'",
        ) from error
    generators: dict[int, Draw]
    generators = GSMSymbolicDataset(GSMSymbolicDatasetConfig(size=1, seed=0)).generators
    return generators
