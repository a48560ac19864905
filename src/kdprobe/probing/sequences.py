"""What every student reads of a problem while it is looked at, and where the question, its numbers and the value are.

All students read the same tokens: the bare question as their prompt, then the gold solution and its end of turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import prompt_text
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import bare

_NUMBER = re.compile(r"\d(?:[\d,]*\d)?(?:\.\d+)?")


@dataclass(frozen=True)
class ProblemSequence:
    """One problem as token ids, with the positions that analyses ask for, all counted from the first token.

    Attributes:
        id: The problem's.
        ids: The prompt with the bare question, then the gold solution without calculator marks, then the end of turn.
        begin: Where the solution begins.
        question: Positions of the question's tokens, the chat template's own left out.
        numbers: Positions of the tokens of numbers in the question; empty where there are none.
        answer: Positions of the solution's tokens, end of turn included.
        value: Positions of the gold value's tokens where the reasoning works it out, the endpoint of
            `kdprobe.evaluation.likelihood`.
        group: The problem's template or family, or `None`.
    """

    id: str
    ids: tuple[int, ...]
    begin: int
    question: tuple[int, ...]
    numbers: tuple[int, ...]
    answer: tuple[int, ...]
    value: tuple[int, ...]
    group: str | None = None


def problem_sequences(tokenizer: Any, problems: Iterable[Problem]) -> list[ProblemSequence]:
    """Problems as students read them, in order.

    Raises:
        KdprobeError: The chat template changes a question, or a gold value has no tokens of its own.
    """
    return [_sequence(tokenizer, problem) for problem in problems]


def _sequence(tokenizer: Any, problem: Problem) -> ProblemSequence:
    from kdprobe.evaluation.likelihood import gold_sequence

    gold = gold_sequence(tokenizer, problem)
    ids = (*gold.ids, tokenizer.eos_token_id)
    text = prompt_text(tokenizer, bare(problem))
    start = text.rfind(problem.question)
    if start < 0:
        raise KdprobeError(
            f"The chat template changes the question of problem {problem.id!r}.",
            "Where its tokens are cannot be said; look at the template.",
        )
    offsets = tokenizer(text, add_special_tokens=not tokenizer.chat_template, return_offsets_mapping=True)
    found = [found.span() for found in _NUMBER.finditer(problem.question)]
    return ProblemSequence(
        id=problem.id,
        ids=ids,
        begin=gold.begin,
        question=_tokens(offsets["offset_mapping"], [(start, start + len(problem.question))]),
        numbers=_tokens(offsets["offset_mapping"], [(start + first, start + last) for first, last in found]),
        answer=tuple(range(gold.begin, len(ids))),
        value=tuple(gold.value),
        group=problem.group,
    )


def _tokens(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Which tokens share a character with a span; special tokens, which have no characters, never do."""
    return tuple(
        place
        for place, (first, last) in enumerate(offsets)
        if any(first < end and last > start for start, end in spans)
    )
