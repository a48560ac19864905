"""The problems that decide the headline's comparison: those that one side solved and the other did not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import shorten

from kdprobe.console.streams import visible
from kdprobe.report.headline import Side
from kdprobe.report.payload.answers import Answers, ShownAnswer, right_of
from kdprobe.report.payload.arms import ShownArm
from kdprobe.words import counted

_ALL = 3
"""Up to this many problems are all shown; of more, only the clearest."""
_CLEAREST = 2
_BEGINNING = 70
"""How many characters of a question are shown."""


@dataclass(frozen=True)
class DecidingProblem:
    """A problem that one side solved and the other did not, or not in as many seeds or samples.

    Attributes:
        id: Its id.
        question: How it begins.
        gold: Its gold value.
        answers: What the two sides answered, in words.
    """

    id: str
    question: str
    gold: str
    answers: list[str]


@dataclass(frozen=True)
class Deciding:
    """The problems that decide a comparison.

    Attributes:
        sentence: How many there are, and which of them are shown.
        shown: Those that are shown.
    """

    sentence: str
    shown: list[DecidingProblem]


@dataclass(frozen=True)
class _Split:
    """A problem on which two sides differ.

    Attributes:
        problem: Its index.
        sides: The answers of each side's students.
        solved: The share of the first side's students (or of their samples) that solved it, minus that of the second
            side's.
        log_p: How much higher log p(gold value) is on the side that solved it more often; 0 if unknown.
    """

    problem: int
    sides: list[list[ShownAnswer]]
    solved: float
    log_p: float


def deciding_problems(
    answers: Answers | None, arms: Sequence[ShownArm], sides: tuple[Side, Side] | None
) -> Deciding | None:
    """The problems that decide a comparison; `None` if both sides solved the same ones.

    Up to three are all shown. Of more, two are: those where log p(gold value) differs most among the problems that
    speak for the side that solved more.

    Args:
        answers: All answers.
        arms: All arms.
        sides: What is compared.
    """
    if answers is None or sides is None:
        return None
    split = _split(answers, arms, sides)
    if not split:
        return None
    total = sum(each.solved for each in split)
    few = len(split) <= _ALL
    leading = sorted(
        (each for each in split if few or each.solved * total >= 0), key=lambda each: (-abs(each.solved), -each.log_p)
    )
    shown = leading if few else leading[:_CLEAREST]
    names = [visible(side.name) for side in sides]
    return Deciding(
        _sentence(split, names, [len(side.arms) for side in sides], shown, few=few),
        [_shown(answers, each, names) for each in shown],
    )


def _split(answers: Answers, arms: Sequence[ShownArm], sides: tuple[Side, Side]) -> list[_Split]:
    indices = {arm["name"]: index for index, arm in enumerate(arms)}
    members = [[indices[visible(name)] for name in side.arms] for side in sides]
    found = []
    for problem in range(len(answers["problems"])):
        held = [[answer for arm in side if (answer := answers["arms"][arm][problem])] for side in members]
        if all(held) and (solved := _difference(held, _share)):
            known = all(answer["log_p"] is not None for side in held for answer in side)
            log_p = _difference(held, lambda answer: answer["log_p"] or 0.0) if known else 0.0
            found.append(_Split(problem, held, solved, log_p if solved > 0 else -log_p))
    return found


def _difference(sides: Sequence[Sequence[ShownAnswer]], of: Callable[[ShownAnswer], float]) -> float:
    a, b = (sum(map(of, side)) / len(side) for side in sides)
    return a - b


def _share(answer: ShownAnswer) -> float:
    right, answers = right_of(answer)
    return right / answers


def _sentence(
    split: Sequence[_Split], names: Sequence[str], seeds: Sequence[int], shown: Sequence[_Split], *, few: bool
) -> str:
    a, b = names
    sampled = any(answer["others"] for each in split for side in each.sides for answer in side)
    by, than, by_other = "only by", "", "only by"
    if sampled:
        by, than, by_other = "more often by", f" than by {b!r}", "more often by"
    elif seeds[0] == seeds[1] > 1:
        by, than, by_other = "by more seeds of", f" than of {b!r}", "by more of"
    elif seeds != [1, 1]:
        by, than, by_other = "by a larger share of the seeds of", f" than of {b!r}", "by a larger share of those of"
    count_a, count_b = (sum(sign * each.solved > 0 for each in split) for sign in (1, -1))
    solved = f"{counted(count_a, 'problem was', 'problems were')} solved {by} {a!r}{than}"
    counts = f"{solved}, and {count_b or 'none'} {by_other} {b!r}."
    if few:
        return counts
    known = all(answer["log_p"] is not None for each in shown for side in each.sides for answer in side)
    total = sum(each.solved for each in split)
    of = count_a + count_b if total == 0 else count_a if total > 0 else count_b
    winner = f" solved {by} {names[total < 0]!r}" if total else ""
    if of <= len(shown):
        # With several seeds or samples, one problem may weigh more than many on the other side.
        return f"{counts} {'The one' if of == 1 else 'The two'}{winner}:"
    first = "the two where log p(gold value) differs most" if known else "the first two"
    if sampled:
        first = "the two where the shares of correct answers differ most"
    elif seeds != [1, 1]:
        first = "the two where the shares of seeds that solved the problem differ most"
    return f"{counts} Of the {of}{winner}, {first}:"


def _shown(answers: Answers, split: _Split, names: Sequence[str]) -> DecidingProblem:
    problem = answers["problems"][split.problem]
    said = [_said(name, side, read=answers["read"]) for name, side in zip(names, split.sides, strict=True)]
    return DecidingProblem(
        problem["id"], shorten(problem["question"], _BEGINNING, placeholder=" …"), problem["gold"], said
    )


def _said(name: str, side: Sequence[ShownAnswer], *, read: bool) -> str:
    right, answers = (sum(counts) for counts in zip(*map(right_of, side), strict=True))
    if answers > len(side):
        return f"{name} is right in {right} of {answers} samples"
    if len(side) > 1:
        return f"{name} is right with {sum(answer['right'] for answer in side)} of {len(side)} seeds"
    (answer,) = side
    verdict = "right" if answer["right"] else "wrong"
    if not read:
        return f"{name} is {verdict}"
    return f"{name} answers {answer['value']} ({verdict})" if answer["value"] else f"{name} gives no value"
