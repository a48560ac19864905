"""A problem as students read it: the bare question as their prompt, then the gold solution and its end of turn.

All students read the same tokens. Where the question, its numbers and the gold value are in them is known, so that
scores and analyses can ask for these positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import prompt_ids, prompt_text
from kdprobe.models.turn import assistant_turn
from kdprobe.problems.gold import GOLD_MARK, gold_value
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import bare

_QUESTION_NUMBER = re.compile(r"\d(?:[\d,]*\d)?(?:\.\d+)?")
_SOLUTION_NUMBER = re.compile(r"\d{1,40}(?:,\d{3}){0,12}(?:\.\d{1,40})?")
_AFTER_EQUALS = re.compile(r"=\s{0,3}[-\u2212]?\s?[$€£]?\Z")


@dataclass(frozen=True)
class ProblemSequence:
    """One problem as token ids, with the positions that are asked for, all counted from the first token.

    Attributes:
        id: The problem's.
        prompt: The conversation with the bare question, up to where the answer begins.
        solution: The gold solution without calculator marks.
        end: What ends the turn.
        question: Positions of the question's tokens, the chat template's own left out; empty where the template
            changes the question.
        numbers: Positions of the tokens of numbers in the question; empty where there are none.
        value: Positions of the gold value's tokens where the reasoning works it out.
        group: The problem's template or family, or `None`.
    """

    id: str
    prompt: tuple[int, ...]
    solution: tuple[int, ...]
    end: tuple[int, ...]
    question: tuple[int, ...]
    numbers: tuple[int, ...]
    value: tuple[int, ...]
    group: str | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """All of it."""
        return (*self.prompt, *self.solution, *self.end)

    @property
    def ids_without_end(self) -> tuple[int, ...]:
        """Prompt and solution: what the log-probability of a gold solution is taken over."""
        return (*self.prompt, *self.solution)

    @property
    def begin(self) -> int:
        """Where the solution begins."""
        return len(self.prompt)

    @property
    def answer(self) -> tuple[int, ...]:
        """Positions of the solution's tokens, end of turn included."""
        return tuple(range(self.begin, len(self.ids)))


def problem_sequence(tokenizer: Any, problem: Problem) -> ProblemSequence:
    """A problem as a student reads it under teacher forcing on the gold solution.

    Raises:
        KdprobeError: No token belongs to the gold value.
    """
    prompt = prompt_ids(tokenizer, bare(problem))
    turn = assistant_turn(tokenizer)
    span = [len(turn.lead) + character for character in value_span(problem.plain_solution, problem.value)]
    encoded = tokenizer(turn.lead + problem.plain_solution, add_special_tokens=False, return_offsets_mapping=True)
    value = _tokens(encoded["offset_mapping"], [(span[0], span[1])])
    # What the template writes before an answer is read, and is no part of it.
    lead = sum(last <= len(turn.lead) for _, last in encoded["offset_mapping"]) if tokenizer.chat_template else 0
    if not value:
        raise KdprobeError(f"The gold value of problem {problem.id!r} has no tokens of its own.")
    question, numbers = _question_positions(tokenizer, problem)
    return ProblemSequence(
        id=problem.id,
        prompt=(*prompt, *encoded["input_ids"][:lead]),
        solution=tuple(encoded["input_ids"][lead:]),
        end=(turn.end,),
        question=question,
        numbers=numbers,
        value=tuple(len(prompt) + token for token in value),
        group=problem.group,
    )


def problem_sequences(tokenizer: Any, problems: Iterable[Problem]) -> list[ProblemSequence]:
    """Problems as students read them, in order, for those who ask where the question is.

    Raises:
        KdprobeError: The chat template changes a question, or a gold value has no tokens of its own.
    """
    sequences = [problem_sequence(tokenizer, problem) for problem in problems]
    for sequence in sequences:
        if not sequence.question:
            raise KdprobeError(
                f"The chat template changes the question of problem {sequence.id!r}.",
                "Where its tokens are cannot be said; look at the template.",
            )
    return sequences


def value_span(solution: str, value: str) -> tuple[int, int]:
    """Where a gold solution works its value out.

    Args:
        solution: The reasoning, `####` and the value; without calculator marks.
        value: The gold value.

    Returns:
        Start and end of the value's digits: at its last statement after an equals sign, else its last statement in
        the reasoning, else after `####`.
    """
    mark = solution.rindex(GOLD_MARK)
    gold = gold_value(value)
    stated = [
        number
        for number in _SOLUTION_NUMBER.finditer(solution, 0, mark)
        if gold is not None and Fraction(number[0].replace(",", "")) == abs(gold)
    ]
    results = [
        number for number in stated if _AFTER_EQUALS.search(solution, max(0, number.start() - 8), number.start())
    ]
    if stated:
        return (results or stated)[-1].span()
    start = solution.index(value, mark + len(GOLD_MARK))
    return start, start + len(value)


def _question_positions(tokenizer: Any, problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions of the question's tokens and of its numbers'; none where the template changes the question."""
    text = prompt_text(tokenizer, bare(problem))
    start = text.rfind(problem.question)
    if start < 0:
        return (), ()
    encoded = tokenizer(text, add_special_tokens=not tokenizer.chat_template, return_offsets_mapping=True)
    numbers = [number.span() for number in _QUESTION_NUMBER.finditer(problem.question)]
    return (
        _tokens(encoded["offset_mapping"], [(start, start + len(problem.question))]),
        _tokens(encoded["offset_mapping"], [(start + first, start + last) for first, last in numbers]),
    )


def _tokens(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Which tokens share a character with a span; special tokens, which have no characters, never do."""
    return tuple(
        token
        for token, (first, last) in enumerate(offsets)
        if any(first < end and last > start for start, end in spans)
    )
