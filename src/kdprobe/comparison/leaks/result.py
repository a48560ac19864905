"""The result of the leak audit: rates of each kind of trace, comparisons with unprimed students, and lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kdprobe.comparison.leaks.phrases import Kind
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.stats.rates.more_often import MoreOften


@dataclass(frozen=True)
class Example:
    """An answer that shows a trace.

    Attributes:
        arm: The student that wrote it.
        problem: The problem's id, or its question or row if there are no ids.
        text: The phrase with the words around it.
    """

    arm: str
    problem: str
    text: str


@dataclass(frozen=True)
class LeakRate:
    """How often the answers of an arm show one kind of trace.

    If there are several answers to a problem, only the first counts.

    Attributes:
        kind: `hedging`, `self-correction`, `hint` (talk about an answer that was given) or `quote` (of the priming).
        name: The strategy with its students of all seeds, or the arm.
        rate: Share of answers that show it, over all students and problems; of quotes, over the shared problems.
        students: The same share for each student.
        against: The unprimed strategy, or the baseline, that it is compared with; `None` if with none.
        test: The comparison, on the problems that all of these students answered.
        p_holm: Its one-sided p-value, adjusted over all arms and kinds.
        teacher: Share of the teacher's answers that show it, or `None` if they are unknown.
        teacher_against: The same for the answers of the unprimed teacher; `None` for quotes, as its answers say which
            words are ordinary.
        examples: A few of the answers.
    """

    kind: Kind
    name: str
    rate: float
    students: Mapping[str, float]
    against: str | None = None
    test: MoreOften | None = None
    p_holm: float | None = None
    teacher: float | None = None
    teacher_against: float | None = None
    examples: tuple[Example, ...] = ()

    @property
    def significant(self) -> bool:
        """Whether the arm shows it more often than the one it is compared with, at 5% after Holm's adjustment."""
        return self.p_holm is not None and self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class AnswerLength:
    """The length of an arm's answers, counting the first to each problem. It is reported, but is never a finding.

    Attributes:
        name: The arm.
        words: Mean number of words, without thinking.
        tokens: Mean number of tokens, with thinking; `None` if unknown.
    """

    name: str
    words: float
    tokens: float | None


@dataclass(frozen=True)
class LeakAudit:
    """Traces of priming in students' answers.

    Attributes:
        rates: Rates by arm and kind.
        lengths: The length of each arm's answers.
        only_first: Whether problems have several answers, of which only the first was read.
        language: The language of the phrases that are searched for.
    """

    rates: list[LeakRate]
    lengths: list[AnswerLength]
    only_first: bool = False
    language: str = field(default="English")
