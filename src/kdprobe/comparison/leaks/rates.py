"""The rates of one strategy or arm: phrases, and quotes of the priming."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.arms import Arm
from kdprobe.comparison.leaks.marked_answers import MarkedAnswers, mark
from kdprobe.comparison.leaks.phrases import Kind
from kdprobe.comparison.leaks.quote_test import ordinary, quote_test
from kdprobe.comparison.leaks.quotes import Quotes
from kdprobe.comparison.leaks.result import Example, LeakRate
from kdprobe.comparison.leaks.teaching import Teaching
from kdprobe.comparison.pairing import Pairing
from kdprobe.stats.rates.more_often import more_often

_EXAMPLES = 3
_LONGEST_KEY = 60
"""Characters of a problem's key that an example shows; it may be the question."""
Pairs = list[tuple[Arm, Arm]]
"""Students of two strategies with the same seeds."""
Against = tuple[str | None, Pairs]
"""The strategy or arm that another is compared with, and the pairs of students; nothing if there is none."""
Shows = Mapping[str, NDArray[np.bool_]]
"""Whether each answer of each arm shows a trace `[n]`, or which runs of words it contains `[n, gram]`."""


@dataclass(frozen=True)
class Taught:
    """A strategy's priming as runs of words, and its teacher's answers, if they are known."""

    quotes: Quotes
    answers: MarkedAnswers | None


@dataclass(frozen=True)
class Known:
    """What the audit looks at.

    Attributes:
        marked: The answers of each arm.
        pairing: The answers by problem.
        taught: Primings and teachers' answers by strategy.
    """

    marked: Mapping[str, MarkedAnswers]
    pairing: Pairing
    taught: Mapping[str, Taught]


def taught(name: str, teaching: Teaching) -> Taught:
    """A strategy's priming and its teacher's answers, with the phrases found in them."""
    answers = teaching.answers
    marked = mark(answers, teaching.questions, f"the teacher's answers ({name})") if answers else None
    return Taught(Quotes(teaching.priming), marked)


def phrase_rate(kind: Kind, name: str, members: Sequence[Arm], against: Against, known: Known) -> LeakRate:
    """How often an arm's answers contain phrases of a kind."""
    base, pairs = against
    shows = {arm.name: known.marked[arm.name].shows(kind) for arm in (*members, *(b for _, b in pairs))}
    rate, students = _rate(members, shows)
    row = LeakRate(
        kind=kind,
        name=name,
        rate=rate,
        students=students,
        against=base,
        teacher=_teacher_shows(kind, name, known),
        teacher_against=_teacher_shows(kind, base, known),
    )
    if not pairs:
        return row
    a, b, rows = _sides(pairs, known.pairing, shows)

    def text(seed: int, problem: int) -> str:
        return str(known.marked[pairs[seed][0].name].found[rows[seed][problem]][kind].excerpt)

    return replace(row, test=more_often(a, b), examples=_examples(pairs, rows, a & ~b, text))


def quote_rate(name: str, members: Sequence[Arm], against: Against, known: Known) -> LeakRate:
    """How often an arm's answers quote its priming in words that are not ordinary for unprimed answers."""
    base, pairs = against
    quotes = known.taught[name].quotes
    held = {arm.name: known.marked[arm.name].quotes(quotes) for arm in (*members, *(b for _, b in pairs))}
    teacher = _teacher_quotes(quotes, name, base, known)
    if not pairs:
        rate, students = _rate(members, {arm: _any(found) for arm, found in held.items()})
        return LeakRate("quote", name, rate, students, base, teacher=teacher)
    a, b, rows = _sides(pairs, known.pairing, held)
    found = quote_test(a, b)
    quoting, unprimed = _any(found.a), _any(found.b)

    def text(seed: int, problem: int) -> str:
        return quotes.longest(found.a[seed, problem])

    return LeakRate(
        kind="quote",
        name=name,
        rate=float(quoting.mean()),
        students={arm.name: float(shows.mean()) for (arm, _), shows in zip(pairs, quoting, strict=True)},
        against=base,
        test=more_often(quoting, unprimed, found.p),
        teacher=teacher,
        examples=_examples(pairs, rows, quoting & ~unprimed, text),
    )


def _any(held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each answer contains any run of words, given those it contains in the last axis."""
    return np.asarray(held.any(axis=-1), dtype=bool)


def _rate(members: Sequence[Arm], shows: Shows) -> tuple[float, dict[str, float]]:
    """The share of all answers, and that of each student."""
    each = {arm.name: float(shows[arm.name].mean()) for arm in members}
    return float(np.mean([*each.values()])), each


def _sides(
    pairs: Pairs, pairing: Pairing, values: Shows
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], list[NDArray[np.intp]]]:
    """Both sides' values on the problems they share `[seeds, n, ...]`, and the rows of the first side's students."""
    names = [arm.name for pair in pairs for arm in pair]
    rows = pairing.shared(*names)
    found = [values[name][held] for name, held in zip(names, rows, strict=True)]
    return np.array(found[::2]), np.array(found[1::2]), rows[::2]


def _examples(
    pairs: Pairs, rows: Sequence[NDArray[np.intp]], shown: NDArray[np.bool_], text: Callable[[int, int], str]
) -> tuple[Example, ...]:
    """The first answers that show a trace which the unprimed answer to the same problem does not, each problem once.

    Args:
        pairs: The students.
        rows: The rows of the first side's students, by problem.
        shown: Which of their answers do, `[seeds, n]`.
        text: What to show of the answer of a student, by index, to a problem.
    """
    chosen: dict[int, Example] = {}
    for seed, problem in np.argwhere(shown):
        if len(chosen) < _EXAMPLES and problem not in chosen:
            arm = pairs[seed][0]
            key = arm.outputs.keys[rows[seed][problem]][:_LONGEST_KEY]
            chosen[problem] = Example(arm.name, key, text(seed, problem))
    return tuple(chosen.values())


def _teacher_answers(strategy: str | None, known: Known) -> MarkedAnswers | None:
    return known.taught[strategy].answers if strategy is not None and strategy in known.taught else None


def _teacher_shows(kind: Kind, strategy: str | None, known: Known) -> float | None:
    answers = _teacher_answers(strategy, known)
    return float(answers.shows(kind).mean()) if answers else None


def _teacher_quotes(quotes: Quotes, name: str, base: str | None, known: Known) -> float | None:
    """The share of a teacher's answers that quote its priming in words not ordinary for the unprimed teacher."""
    own, unprimed = _teacher_answers(name, known), _teacher_answers(base, known)
    if own is None:
        return None
    held = own.quotes(quotes)
    counted = ~ordinary(unprimed.quotes(quotes)) if unprimed else np.ones(len(quotes.grams), dtype=bool)
    return float(_any(held & counted).mean())
