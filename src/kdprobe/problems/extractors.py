r"""The built-in extractors: how an answer's final value is read, and when it counts as correct.

| name | reads | compares |
| --- | --- | --- |
| `robust` | the last of `\boxed{...}`, `#### ...`, "answer is ...", else the last number | exact values |
| `published` | the four rules of the response-priming paper, in its order | exact values |
| `strict` | lm-eval's `strict-match` for GSM8K: after `#### ` | strings, as lm-eval does |
| `flexible` | lm-eval's `flexible-extract`: the last thing that looks like a number | strings, as lm-eval does |

Each takes time linear in the length of the text.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Protocol

from kdprobe.problems.answers import Extraction, extract, last_match, matches


class Extractor(Protocol):
    """Extracts the final value of an answer, and compares it with the gold value in its own way."""

    def extract(self, text: str) -> Extraction:
        """Extracts the final value; never raises, whatever the text."""
        ...

    def is_right(self, extraction: Extraction, gold: str) -> bool:
        """Whether an extraction matches the gold value, which is given as written in the data."""
        ...


class Robust:
    """The default; see `kdprobe.problems.answers`."""

    def extract(self, text: str) -> Extraction:
        """The marked value, else the last number."""
        return extract(text)

    def is_right(self, extraction: Extraction, gold: str) -> bool:
        """Whether both are equal as exact numbers."""
        return matches(extraction, gold)


_PUBLISHED_TOKEN = re.compile(r"[0-9,]+(?:\.[0-9,]+)?")
_PUBLISHED_BOX = re.compile(rf"oxed\{{\s*({_PUBLISHED_TOKEN.pattern})\s*\}}")
_PUBLISHED_ANSWER = re.compile(r"the\s*(?:(?:final|correct)\s*)?answer\s*is")
_LONGEST = 1_000
"""Maximum digits of a number; longer ones have no value, because they are never an answer and slow to convert."""


class Published:
    """The four rules of Goyal et al. (2024, arXiv 2412.17846), for replication.

    A token consists of digits and commas, optionally followed by a point and more of them; signs, currency and percent
    are ignored. The first rule that finds a token decides, even if the token is a comma without a value.
    """

    def extract(self, text: str) -> Extraction:
        """The first box, the only distinct token of the first line, the first after "the answer is", or the last."""
        if boxed := _PUBLISHED_BOX.search(text):
            return _published("boxed", boxed[1], boxed.span(1))
        line = text.partition("\n")[0]
        tokens = list(_PUBLISHED_TOKEN.finditer(line))
        if tokens and len({token[0] for token in tokens}) == 1:
            return _published("first-line", tokens[0][0], tokens[0].span())
        if (phrase := _PUBLISHED_ANSWER.search(text)) and (token := _PUBLISHED_TOKEN.search(text, phrase.end())):
            return _published("answer-is", token[0], token.span())
        last = last_match(_PUBLISHED_TOKEN, text)
        return _published("last-number", last[0], last.span()) if last else Extraction(None, "none")

    def is_right(self, extraction: Extraction, gold: str) -> bool:
        """Whether both are equal as exact numbers."""
        return matches(extraction, gold)


def _published(rule: str, token: str, where: tuple[int, int]) -> Extraction:
    return Extraction(_number(token.replace(",", "").removesuffix(".")), rule, where, token)


class LmEval:
    """A filter of lm-eval's GSM8K task, and its comparison on strings.

    Args:
        rule: The name of the filter.
        pattern: Its regular expression.
        last: Whether it takes the last match rather than the first.
    """

    def __init__(self, rule: str, pattern: str, *, last: bool) -> None:
        self.rule, self.pattern, self.last = rule, re.compile(pattern), last

    def extract(self, text: str) -> Extraction:
        """What the filter selects; `value` is its number, if it is one."""
        chosen = last_match(self.pattern, text) if self.last else self.pattern.search(text)
        if chosen is None:
            return Extraction(None, "none")
        group = next(index for index, part in enumerate(chosen.groups(), start=1) if part)
        written = chosen[group]
        return Extraction(_number(_comparable(written)), self.rule, chosen.span(group), written)

    def is_right(self, extraction: Extraction, gold: str) -> bool:
        """Whether both are equal as strings without commas, dollar signs and a final point."""
        return extraction.written is not None and _comparable(extraction.written.strip()) == _comparable(gold)


def strict() -> LmEval:
    """lm-eval's `strict-match`."""
    return LmEval("strict-match", r"#### (\-?[0-9\.\,]+)", last=False)


def flexible() -> LmEval:
    """lm-eval's `flexible-extract`."""
    return LmEval("flexible-extract", r"(-?[$0-9.,]{2,})|(-?[0-9]+)", last=True)


def _comparable(text: str) -> str:
    """A value as lm-eval compares it: without commas, dollar signs and a final point."""
    return re.sub(r"\.$", "", text.replace(",", "").replace("$", "")).lower()


def _number(text: str) -> Fraction | None:
    plain = len(text) <= _LONGEST and re.fullmatch(r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)", text)
    return Fraction(text) if plain else None
