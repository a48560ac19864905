"""Which tokens of a prompt are the question's, which are the priming's, and which frame both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from kdprobe.models.turn import is_end
from kdprobe.probing.outputs.differences.tables import token_texts
from kdprobe.problems.problem import Problem
from kdprobe.students.sequence import question_positions

_ROLES = frozenset({"system", "developer", "user", "assistant", "model"})
"""The words that chat templates write after a special token."""


@dataclass(frozen=True)
class Layout:
    """The tokens of a prompt by class; those of neither class frame the conversation, and the first is the sink.

    Attributes:
        ids: Token ids.
        question: Positions of those tokens of the question that the primed and the bare prompt have in common; empty if
            they are not found.
        priming: Positions of the tokens that priming adds; empty if the question is not found.
    """

    ids: tuple[int, ...]
    question: tuple[int, ...]
    priming: tuple[int, ...] = ()


def layouts(tokenizer: Any, problem: Problem, primed: Sequence[int], bare: Sequence[int]) -> tuple[Layout, Layout]:
    """The primed and the bare prompt of a problem.

    The question's tokens are found as one contiguous run of token ids. If the first or the last of them is written
    together with other text in one of the prompts, it is left out. If the run does not occur, or more than once, both
    layouts lack it.

    Args:
        tokenizer: The teacher's tokenizer.
        problem: The problem.
        primed: Token ids of the primed prompt.
        bare: Token ids of the bare prompt.
    """
    asked = [position for position in question_positions(tokenizer, problem)[0] if position]
    for late, early in ((0, 0), (1, 0), (0, 1), (1, 1)):
        run = asked[late : len(asked) - early]
        starts = list(_occurrences(primed, [bare[position] for position in run])) if run else []
        if len(starts) == 1 and starts[0]:
            found = range(starts[0], starts[0] + len(run))
            # Tokens that belong to the question and to the text next to it.
            edges = [found[0] - 1] * late + [found[-1] + 1] * early
            added = _added(tokenizer, primed, bare, found, run)
            priming = tuple(position for position in added if position not in edges)
            return Layout(tuple(primed), tuple(found), priming), Layout(tuple(bare), tuple(run))
    return Layout(tuple(primed), ()), Layout(tuple(bare), ())


def replaced(layout: Layout, tokens: Sequence[int], decode: Callable[[int], str]) -> Layout:
    """The prompt with other tokens in place of the priming's.

    Every run of them keeps what it ends with if that has neither letters nor digits, such as a full stop and line
    breaks, so that the question remains set off.

    Args:
        layout: The primed prompt.
        tokens: At least as many tokens as the priming has.
        decode: Maps a token's id to its text.
    """
    ids, rest = list(layout.ids), iter(tokens)
    for run in _runs(layout.priming):
        closing = list(takewhile(lambda position: not _has_word(decode(ids[position])), reversed(run)))
        for position in run[: len(run) - len(closing)]:
            ids[position] = next(rest)
    return Layout(tuple(ids), layout.question, layout.priming)


def _added(
    tokenizer: Any, primed: Sequence[int], bare: Sequence[int], found: Sequence[int], run: Sequence[int]
) -> list[int]:
    """Positions of the primed prompt that the bare one lacks, before and after the question, without the frame."""
    sides = (
        (range(1, found[0]), range(1, run[0])),
        (range(found[-1] + 1, len(primed)), range(run[-1] + 1, len(bare))),
    )
    positions = [
        position
        for of_primed, of_bare in sides
        for position in _between([primed[each] for each in of_primed], [bare[each] for each in of_bare], of_primed)
    ]
    return list(_without_frame(positions, primed, tokenizer))


def _between(primed: Sequence[int], bare: Sequence[int], positions: range) -> range:
    """The positions of what remains of one text without the beginning and the end that it shares with another."""
    start = _shared(primed, bare)
    end = _shared(primed[start:][::-1], bare[start:][::-1])
    return positions[start : len(primed) - end]


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _without_frame(positions: Sequence[int], ids: Sequence[int], tokenizer: Any) -> Iterator[int]:
    """Leaves out tokens that do not occur in text, the role after one, and white space after either."""
    marks = {position for position, id_ in enumerate(ids) if is_end(tokenizer, id_)}
    framing, decode = set(marks), token_texts(tokenizer)
    for position in positions:
        if position in marks:
            continue
        text = decode(ids[position]).strip()
        if position - 1 in framing and (not text or (text in _ROLES and position - 1 in marks)):
            framing.add(position)
        else:
            yield position


def _occurrences(ids: Sequence[int], run: Sequence[int]) -> Iterator[int]:
    wanted, length = list(run), len(run)
    return (start for start in range(len(ids) - length + 1) if list(ids[start : start + length]) == wanted)


def _runs(positions: Sequence[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for position in positions:
        if run and position != run[-1] + 1:
            yield run
            run = []
        run.append(position)
    if run:
        yield run


def _has_word(text: str) -> bool:
    return any(character.isalnum() for character in text)
