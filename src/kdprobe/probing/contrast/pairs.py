"""Pairs of a problem and a counterfactual whose tokens align."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.probing.analysis import AnalysisContext
from kdprobe.probing.outputs.differences.parts import TEMPLATE, parts_of
from kdprobe.probing.shared_sequences import shared_sequences
from kdprobe.problems.gold import GOLD_MARK
from kdprobe.problems.problem import Problem
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.students.sequence import ProblemSequence, problem_sequence
from kdprobe.words import counted

Reading = Literal["steps", "answer"]
ANSWER, OPERATORS, ALL = "answer", "operators", "all"
PARTS = (TEMPLATE, "question", "question_numbers", "steps", "step_numbers", OPERATORS, ANSWER)
"""The parts of what is read; every token belongs to exactly one."""
_MOST_CANDIDATES = 200
"""Counterfactuals tried for one problem."""


@dataclass(frozen=True)
class ContrastPair:
    """A problem and its counterfactual, both up to the first token in which their gold values differ.

    Attributes:
        id: The problem's id.
        group: Its template or family, or `None`.
        clean: Token ids of the problem.
        other: Token ids of the counterfactual, as many.
        answers: The next token of each: the first in which their gold values differ.
        parts: The part of each token, `[position]`.
    """

    id: str
    group: str | None
    clean: tuple[int, ...]
    other: tuple[int, ...]
    answers: tuple[int, int]
    parts: NDArray[np.str_]

    @property
    def differing(self) -> NDArray[np.bool_]:
        """Whether the two have different tokens, `[position]`."""
        return np.not_equal(self.clean, self.other)

    def within(self, part: str) -> NDArray[np.bool_]:
        """The positions of a part, or of all parts together, `[position]`."""
        return np.ones(len(self.clean), dtype=bool) if part == ALL else self.parts == part


@dataclass(frozen=True)
class Pairs:
    """The pairs that were found, and the problems without one.

    Attributes:
        pairs: In the order of the problems.
        left_out: Ids of the problems without an aligned counterfactual.
    """

    pairs: Sequence[ContrastPair]
    left_out: Sequence[str]


def contrast_pairs(context: AnalysisContext, wanted: int, reads: Reading) -> Pairs:
    """The first problems of a context with their first counterfactual that aligns.

    Args:
        context: Students, problems and counterfactuals.
        wanted: Number of pairs.
        reads: What precedes the answer.

    Raises:
        UsageError: A student's tokenizer turns a problem or its counterfactual into different tokens.
        KdprobeError: Too few problems have an aligned counterfactual.
    """
    counterfactuals = context.counterfactuals
    if counterfactuals is None:
        raise KdprobeError("The problem source offers no counterfactuals.", "Use one that does, such as gsm-symbolic.")
    first = next((each for each in context.students if each.name == context.template_of), context.students[0])
    tokenizer = first.load_tokenizer()
    shortened: Callable[[Problem], Problem] = _without_steps if reads == "answer" else (lambda problem: problem)
    problems: list[Problem] = []
    others: list[Problem] = []
    pairs: list[ContrastPair] = []
    left_out: list[str] = []
    for problem in context.problems:
        if len(problems) == wanted:
            break
        clean = problem_sequence(tokenizer, shortened(problem))
        for candidate in islice(counterfactuals(problem), _MOST_CANDIDATES):
            if pair := contrasted(clean, problem_sequence(tokenizer, shortened(candidate))):
                pairs.append(pair)
                problems.append(shortened(problem))
                others.append(shortened(candidate))
                break
        else:
            left_out.append(problem.id)
    needed = min(wanted, len(context.problems), FEWEST_PROBLEMS)
    if len(problems) < needed:
        have = "has" if len(problems) == 1 else "have"
        raise KdprobeError(
            f"Only {len(problems)} of {counted(len(context.problems), 'problem')} {have} a counterfactual whose tokens "
            f"align, and at least {needed} {'is' if needed == 1 else 'are'} needed.",
            "Use more problems, or a source whose counterfactual numbers have as many tokens as the originals.",
        )
    for texts in (problems, others):
        # Refuses students that do not read exactly these tokens.
        shared_sequences(context.students, texts, context.template_of)
    return Pairs(pairs, left_out)


def contrast_pair(tokenizer: Any, problem: Problem, counterfactual: Problem, reads: Reading = "steps") -> ContrastPair:
    """A pair of two problems of your choice.

    Args:
        tokenizer: The student's tokenizer.
        problem: What the clean run reads.
        counterfactual: What the counterfactual run reads.
        reads: What precedes the answer: the `steps` of the gold solution, or nothing (`answer`).

    Raises:
        KdprobeError: Their tokens do not align, or their gold values are the same.
    """
    texts = (_without_steps(each) if reads == "answer" else each for each in (problem, counterfactual))
    pair = contrasted(*(problem_sequence(tokenizer, text) for text in texts))
    if pair is None:
        raise KdprobeError(
            f"The tokens of {problem.id!r} and {counterfactual.id!r} do not align, or their gold values are the same.",
            "Both texts must have the same number of tokens, with numbers at the same positions, but different gold "
            "values.",
        )
    return pair


def contrasted(clean: ProblemSequence, other: ProblemSequence) -> ContrastPair | None:
    """A pair, if the tokens align: up to the first that tells the gold values apart, they belong to the same parts.

    Both gold values must have as many tokens, at the same positions, and something before them must differ.
    """
    if clean.value != other.value:
        return None
    end = next((position for position in clean.value if clean.ids[position] != other.ids[position]), None)
    if end is None or clean.ids[:end] == other.ids[:end]:
        return None
    parts = _parts(clean, end)
    if parts != _parts(other, end):
        return None
    answers = clean.ids[end], other.ids[end]
    return ContrastPair(clean.id, clean.group, clean.ids[:end], other.ids[:end], answers, np.array(parts))


def _parts(sequence: ProblemSequence, end: int) -> list[str]:
    """The part of each token up to a position; the last of them, from which the answer is predicted, is `answer`."""
    parts = parts_of(sequence)
    for position in sequence.operators:
        if parts[position] == "steps":
            parts[position] = OPERATORS
    for position in (*sequence.final_answer, *sequence.value, end - 1):
        parts[position] = ANSWER
    return parts[:end]


def _without_steps(problem: Problem) -> Problem:
    """The problem with a solution that states the value at once."""
    return replace(problem, solution=f"{GOLD_MARK} {problem.value}")
