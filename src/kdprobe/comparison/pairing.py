"""Pairs the answers of several arms by problem: by id, by question or by row, and reports which."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.arms import Arm
from kdprobe.errors import KdprobeError
from kdprobe.problems.gold import gold_value
from kdprobe.words import counted, enumerated

_MISTAKES = 0.05
"""Share of gold values that may differ between two files of the same problems."""
Rows = NDArray[np.intp]
Keys = Mapping[str, Sequence[str]]
"""For each arm, the key of each of its problems."""
_SHORTEST = 12
"""Minimum characters left of a question once the words shared by all prompts are removed; less identifies nothing."""


@dataclass(frozen=True)
class Pairing:
    """Answers of several arms by problem.

    Attributes:
        rows: The row of each answer, by arm and then by problem.
        sentence: How they were paired.
    """

    rows: Mapping[str, Mapping[str, int]]
    sentence: str

    def shared(self, *names: str) -> list[Rows]:
        """For each of these arms, the rows of the problems that all of them answered, in the first arm's order."""
        arms = [self.rows[name] for name in names]
        first, *others = arms
        keys = [key for key in first if all(key in other for other in others)]
        return [np.fromiter((arm[key] for key in keys), dtype=np.intp, count=len(keys)) for arm in arms]


def pair_up(arms: Sequence[Arm]) -> Pairing:
    """Pairs answers by id where all arms share ids; otherwise by question; failing that, by row.

    Args:
        arms: The arms; their names must be unique.

    Raises:
        KdprobeError: A problem occurs twice in an arm, two arms have no problems in common, or an id has different
            questions.
    """
    keys, sentence = _keys(arms)
    for arm in arms:
        _refuse_doubles(arm, keys[arm.name])
    pairing = Pairing({name: {key: row for row, key in enumerate(held)} for name, held in keys.items()}, sentence)
    by_row = not any(arm.outputs.ids or arm.outputs.questions for arm in arms)
    for a, b in combinations(arms, 2):
        rows = pairing.shared(a.name, b.name)
        if not len(rows[0]):
            raise KdprobeError(
                f"{a.outputs.file} and {b.outputs.file} have no problems in common. {sentence}",
                "Select a column of shared ids, or of questions, with --id-column.",
            )
        _refuse_other_questions(a, b, rows)
        if by_row:
            _refuse_other_gold(a, b)
    return pairing


def _keys(arms: Sequence[Arm]) -> tuple[Keys, str]:
    ids = {arm.name: arm.outputs.ids for arm in arms if arm.outputs.ids}
    asked = {arm.name: arm.outputs.questions for arm in arms if arm.outputs.questions}
    if len(ids) == len(arms):
        questions = _meeting(asked) if len(asked) == len(arms) and _overlap(ids) < _fewest(ids) else None
        if questions is None or _overlap(ids) >= _overlap(questions) or _has_doubles(questions):
            return ids, "Answers are paired by id."
        return questions, f"Answers are paired by question: {_parted(ids)}."
    if len(asked) == len(arms):
        without = [arm.name for arm in arms if arm.name not in ids]
        return _meeting(asked), f"Answers are paired by question: {_listed(without)} no ids."
    sizes = {arm.name: len(arm.outputs.responses) for arm in arms}
    if ids or asked or len({*sizes.values()}) > 1:
        without = [arm.outputs.file for arm in arms if arm.name not in (ids or asked)] or [a.outputs.file for a in arms]
        raise KdprobeError(
            f"Answers cannot be paired by problem: {_listed(without)} no ids.",
            "Select a column of ids, or of questions, with --id-column.",
        )
    return {name: list(map(str, range(size))) for name, size in sizes.items()}, (
        "Answers are paired by row: there are no ids or questions."
    )


def _listed(names: Sequence[str]) -> str:
    return f"{enumerated(names)} {'has' if len(names) == 1 else 'have'}"


def _parted(ids: Keys) -> str:
    """Which two arms share the fewest ids, as a clause."""
    a, b = min(combinations(ids, 2), key=lambda pair: _overlap({name: ids[name] for name in pair}))
    shared = len(set(ids[a]) & set(ids[b]))
    count = f"only {shared}" if shared else "no"
    return f"{a} and {b} share {count} {'id' if shared == 1 else 'ids'}"


def _overlap(keys: Keys) -> int:
    """The smallest number of keys that any two arms share."""
    sets = [set(held) for held in keys.values()]
    return min((len(a & b) for a, b in combinations(sets, 2)), default=0)


def _fewest(keys: Keys) -> int:
    return min(map(len, keys.values()))


def _has_doubles(keys: Keys) -> bool:
    return any(len(set(held)) < len(held) for held in keys.values())


def _meeting(questions: Keys) -> Keys:
    """Questions as keys, without the words common to all prompts of an arm if they match only that way."""
    keys = {name: list(map(_plain, asked)) for name, asked in questions.items()}
    if len(keys) > 1 and not _overlap(keys):
        bare = {name: _bare(asked) for name, asked in keys.items()}
        return bare if _overlap(bare) else keys
    return keys


def _plain(question: str) -> str:
    """A question without case, spacing, and punctuation that does not matter to a calculation."""
    text = unicodedata.normalize("NFKC", question).replace("\u2212", "-").lower()
    return re.sub(r"[^\w+*/=<>%^-]+", " ", text).strip()


def _bare(questions: Sequence[str]) -> list[str]:
    """Questions without the words that all of them begin or end with."""
    words = [question.split() for question in questions]
    begin = _common(words)
    end = _common([question[begin:][::-1] for question in words])
    bare = [" ".join(question[begin : len(question) - end]) for question in words]
    return bare if min(map(len, bare)) >= _SHORTEST else list(questions)


def _common(questions: Sequence[list[str]]) -> int:
    """The length of the common prefix in words: that of the first and the last in alphabetical order."""
    pairs = zip(min(questions), max(questions), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _refuse_doubles(arm: Arm, keys: Sequence[str]) -> None:
    if len(set(keys)) == len(keys):
        return
    key, count = Counter(keys).most_common(1)[0]
    raise KdprobeError(
        f"{arm.outputs.file} answers the problem {key[:60]!r} {count} times.",
        "Answers are paired by problem: select a column of unique ids with --id-column, number the answers to each "
        "problem in a column 'sample', or split the file.",
    )


def _refuse_other_questions(a: Arm, b: Arm, rows: Sequence[Rows]) -> None:
    """Rejects ids with different questions. A question may be part of a prompt, and prompts may differ around it."""
    if a.outputs.questions is None or b.outputs.questions is None:
        return
    asked_a = [_plain(a.outputs.questions[row]) for row in rows[0]]
    asked_b = [_plain(b.outputs.questions[row]) for row in rows[1]]
    different = [index for index, pair in enumerate(zip(asked_a, asked_b, strict=True)) if not _same(*pair)]
    if different and len(asked_a) > 1:
        bare_a, bare_b = _bare(asked_a), _bare(asked_b)
        different = [index for index in different if not _same(bare_a[index], bare_b[index])]
    if different:
        example = (a.outputs.ids or asked_a)[rows[0][different[0]]]
        raise KdprobeError(
            f"{a.outputs.file} and {b.outputs.file} use the same ids for different questions: {len(different)} of "
            f"{len(asked_a)}, such as {example[:60]!r}.",
            "Only compare arms that answered the same problems, or pair by question: use --id-column to select the "
            "column of questions.",
        )


def _refuse_other_gold(a: Arm, b: Arm) -> None:
    """Rejects pairs of rows with different gold values, which show that the files differ in their order."""
    pairs = [(gold_value(x), gold_value(y)) for x, y in zip(a.outputs.gold, b.outputs.gold, strict=True)]
    different = sum(None not in pair and pair[0] != pair[1] for pair in pairs)
    if different > _MISTAKES * len(pairs):
        raise KdprobeError(
            f"{a.outputs.file} and {b.outputs.file} have no ids or questions, and their gold values differ in "
            f"{different} of {counted(len(pairs), 'row')}, so the files list different problems, or the same problems "
            "in a different order.",
            "Select a column of ids, or of questions, with --id-column.",
        )


def _same(a: str, b: str) -> bool:
    """Whether two questions are the same, or one contains the other."""
    return a == b or not a or not b or f" {a} " in f" {b} " or f" {b} " in f" {a} "
