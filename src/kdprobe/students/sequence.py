"""A problem as students read it: the bare question as the prompt, then the gold solution and the end of turn.

All students read the same tokens. The positions of the question, its numbers and the gold value are recorded for scores
and analyses.
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

_NUMBER = re.compile(r"\d(?:[\d,]*\d)?(?:\.\d+)?")
_SOLUTION_NUMBER = re.compile(r"\d{1,40}(?:,\d{3}){0,12}(?:\.\d{1,40})?")
_OPERATOR = re.compile(r"(?<=[\d\s%)$€£])[-+*/=\u00d7\u00f7\u2212](?=[\s\d.($€£])|(?<=\s)x(?=\s)")
_AFTER_EQUALS = re.compile(r"=\s{0,3}[-\u2212]?\s?[$€£]?\Z")


@dataclass(frozen=True)
class ProblemSequence:
    """One problem as token ids, with positions of interest, all counted from the first token.

    Attributes:
        id: The problem's id.
        prompt: The conversation with the bare question, up to the start of the answer.
        solution: The gold solution without calculator annotations.
        end: The end of turn.
        question: Positions of the question's tokens, without those of the chat template; empty if the template changes
            the question.
        numbers: Positions of the tokens of numbers in the question; empty if there are none.
        value: Positions of the gold value's tokens at the point where the reasoning derives it.
        group: The problem's template or family, or `None`.
        step_numbers: Positions of the tokens of numbers in the solution before its last line.
        final_answer: Positions of the tokens of its last line, `#### value`.
        operators: Positions of the tokens of arithmetic operators and equals signs in the solution before its last
            line.
    """

    id: str
    prompt: tuple[int, ...]
    solution: tuple[int, ...]
    end: tuple[int, ...]
    question: tuple[int, ...]
    numbers: tuple[int, ...]
    value: tuple[int, ...]
    group: str | None = None
    step_numbers: tuple[int, ...] = ()
    final_answer: tuple[int, ...] = ()
    operators: tuple[int, ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """All token ids."""
        return (*self.prompt, *self.solution, *self.end)

    @property
    def ids_without_end(self) -> tuple[int, ...]:
        """Prompt and solution, the tokens used for the log-probability of the gold solution."""
        return (*self.prompt, *self.solution)

    @property
    def begin(self) -> int:
        """Position of the solution's first token."""
        return len(self.prompt)

    @property
    def answer(self) -> tuple[int, ...]:
        """Positions of the solution's tokens, including the end of turn."""
        return tuple(range(self.begin, len(self.ids)))


def problem_sequence(tokenizer: Any, problem: Problem) -> ProblemSequence:
    """A problem as a student reads it under teacher forcing on the gold solution.

    Raises:
        KdprobeError: No token belongs to the gold value.
    """
    prompt = prompt_ids(tokenizer, bare(problem))
    turn = assistant_turn(tokenizer)
    text, mark = turn.lead + problem.plain_solution, len(turn.lead) + problem.plain_solution.rindex(GOLD_MARK)
    span = [len(turn.lead) + character for character in value_span(problem.plain_solution, problem.value)]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    value, final_answer, step_numbers, operators = (
        tuple(len(prompt) + token for token in _tokens(encoded["offset_mapping"], spans))
        for spans in (
            [(span[0], span[1])],
            [(mark, len(text))],
            [number.span() for number in _NUMBER.finditer(text, len(turn.lead), mark)],
            [operator.span() for operator in _OPERATOR.finditer(text, len(turn.lead), mark)],
        )
    )
    # Text that the template writes before an answer belongs to the prompt.
    lead = sum(last <= len(turn.lead) for _, last in encoded["offset_mapping"]) if tokenizer.chat_template else 0
    if not value:
        raise KdprobeError(
            f"In problem {problem.id!r}, the tokenizer assigns no token to the gold value, so the value's "
            "log-probability cannot be measured."
        )
    question, numbers = question_positions(tokenizer, problem)
    return ProblemSequence(
        id=problem.id,
        prompt=(*prompt, *encoded["input_ids"][:lead]),
        solution=tuple(encoded["input_ids"][lead:]),
        end=(turn.end,),
        question=question,
        numbers=numbers,
        value=value,
        group=problem.group,
        step_numbers=step_numbers,
        final_answer=final_answer,
        operators=operators,
    )


def problem_sequences(tokenizer: Any, problems: Iterable[Problem]) -> list[ProblemSequence]:
    """Problems as students read them, in order, all with the positions of their questions.

    Raises:
        KdprobeError: The chat template changes a question, or a gold value has no tokens of its own.
    """
    sequences = [problem_sequence(tokenizer, problem) for problem in problems]
    for sequence in sequences:
        if not sequence.question:
            raise KdprobeError(
                f"The chat template changes the question of problem {sequence.id!r}.",
                "The question's tokens cannot be located; check the template.",
            )
    return sequences


def value_span(solution: str, value: str) -> tuple[int, int]:
    """The span in which a gold solution derives its value.

    Args:
        solution: The reasoning, `####` and the value, without calculator annotations.
        value: The gold value.

    Returns:
        Start and end of the value's digits: where it last occurs after an equals sign; failing that, where it last
        occurs in the reasoning; failing that, after `####`.
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


def question_positions(tokenizer: Any, problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions of the question's tokens and of its numbers' tokens; empty if the template changes the question."""
    text = prompt_text(tokenizer, bare(problem))
    start = text.rfind(problem.question)
    if start < 0:
        return (), ()
    encoded = tokenizer(text, add_special_tokens=not tokenizer.chat_template, return_offsets_mapping=True)
    numbers = [number.span() for number in _NUMBER.finditer(problem.question)]
    return (
        _tokens(encoded["offset_mapping"], [(start, start + len(problem.question))]),
        _tokens(encoded["offset_mapping"], [(start + first, start + last) for first, last in numbers]),
    )


def _tokens(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The tokens that overlap one of the spans; special tokens have no characters and never do."""
    return tuple(
        token
        for token, (first, last) in enumerate(offsets)
        if any(first < end and last > start for start, end in spans)
    )
