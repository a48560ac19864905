"""Counterfactuals of `gsm-symbolic` problems: the same template and words, with different numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from kdprobe.problems.problem import Problem, Split
from kdprobe.problems.sources.gsm_symbolic import Draw, GsmSymbolicOptions, generators_of, problem_of, split_of

_ID = re.compile(r"(teacher|transfer|test)-(\d+)-\d+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MOST_DRAWS = 20_000
"""Draws for one problem; they take half a second."""


def build(options: GsmSymbolicOptions) -> Callable[[Problem], Iterator[Problem]]:
    """A function that yields counterfactuals of a problem that the source drew with these options.

    They are of the problem's own split, so that no student was trained on them. A problem from elsewhere has none.
    """
    streams: dict[tuple[Split, int], _Words] = {}

    def counterfactuals(problem: Problem) -> Iterator[Problem]:
        named = _ID.fullmatch(problem.id)
        if not named or int(named[2]) not in options.templates:
            return
        split: Split = named[1]  # type: ignore[assignment]
        template = int(named[2])
        generate = generators_of()[template]
        if (split, template) not in streams:
            streams[split, template] = _Words(generate, f"{options.seed}/{template}/{split}")
        words = streams[split, template].of(problem.question)
        random = _SameWords(f"{options.seed}/{problem.id}/other numbers", words)
        seen = {problem.question}
        for _ in range(_MOST_DRAWS if words is not None else 0):
            random.rewind()
            drawn = problem_of(generate(random, 1.0), f"{problem.id}-{len(seen)}", problem.group)
            if drawn.question in seen or split_of(drawn.question) != split:
                continue
            if drawn.value != problem.value and _form(drawn) == _form(problem):
                seen.add(drawn.question)
                yield drawn

    return counterfactuals


def _form(problem: Problem) -> tuple[str, str]:
    """Question and solution with every number replaced by the same sign."""
    return _NUMBER.sub("#", problem.question), _NUMBER.sub("#", problem.plain_solution)


class _Words:
    """Repeats a stream of draws and remembers the words of each.

    Args:
        generate: The template.
        seed: The seed of the stream.
    """

    def __init__(self, generate: Draw, seed: str) -> None:
        self._generate, self._random = generate, _Recorded(seed)
        self._words: dict[str, list[Any]] = {}

    def of(self, question: str) -> list[Any] | None:
        """The words of the draw with this question; `None` if the stream has none."""
        for _ in range(_MOST_DRAWS):
            if question in self._words:
                break
            self._random.texts = []
            drawn = self._generate(self._random, 1.0)["question"].strip()
            self._words.setdefault(drawn, self._random.texts)
        return self._words.get(question)


class _Recorded(Random):
    """Draws as `Random` does, and records every choice of words, in order."""

    texts: list[Any]

    def choice(self, seq: Any) -> Any:
        return self._noted(super().choice(seq))

    def sample(self, population: Any, k: int, **known: Any) -> Any:
        return self._noted(super().sample(population, k, **known))

    def _noted(self, drawn: Any) -> Any:
        if _has_words(drawn):
            self.texts.append(drawn)
        return drawn


class _SameWords(Random):
    """Draws numbers at random, and words as recorded."""

    def __init__(self, seed: str, words: Sequence[Any] | None) -> None:
        super().__init__(seed)
        self._recorded = words or ()
        self.rewind()

    def rewind(self) -> None:
        """Starts again with the first word."""
        self._words = iter(self._recorded)

    def choice(self, seq: Any) -> Any:
        return self._as_recorded(super().choice(seq))

    def sample(self, population: Any, k: int, **known: Any) -> Any:
        return self._as_recorded(super().sample(population, k, **known))

    def _as_recorded(self, drawn: Any) -> Any:
        return next(self._words, drawn) if _has_words(drawn) else drawn


def _has_words(drawn: Any) -> bool:
    return isinstance(drawn, str) or (isinstance(drawn, list | tuple) and any(map(_has_words, drawn)))
