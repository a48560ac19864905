"""English phrases of hedging, of self-correction, or about an answer that was given.

The lists hold phrases that solutions of word problems hardly ever contain otherwise. Words such as "could", "about" or
"likely" are hedges in the linguistic literature, but in word problems they belong to the story; "wait" and "actually"
count only where they interrupt. The explanation of leaks in the docs says where the lists come from, and how often they
match ordinary answers.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from kdprobe.comparison.leaks.plain_words import shown_text

Kind = Literal["hedging", "self-correction", "hint", "quote"]
HEDGES = (
    "i think", "i believe", "i guess", "i suppose", "i would guess", "i would say",
    "i'm not sure", "i am not sure", "i'm not certain", "i am not certain", "i'm unsure", "i am unsure",
    "i'm not confident", "i am not confident", "i'm fairly sure", "i am fairly sure", "i'm pretty sure",
    "i am pretty sure", "not entirely sure", "not entirely certain", "not completely sure", "not completely certain",
    "not quite sure", "hard to say", "hard to tell", "perhaps", "maybe", "presumably", "supposedly", "apparently",
    "it seems", "seems to be", "seems like", "seems that", "it appears", "appears to be", "appears that",
    "it is possible that", "it's possible that", "it is likely that", "it's likely that", "might be", "most likely",
    "as far as i can tell", "as far as i know", "to my knowledge", "to the best of my knowledge", "if i understand",
    "in my opinion", "in my view", "in my estimation", "don't quote me",
)  # fmt: skip
CORRECTIONS = (
    "but wait", "oh wait", "no wait", "wait a second", "wait a moment", "let me check", "let me double check",
    "let me double-check", "let me verify", "let me recheck", "let me re-check", "let me reconsider",
    "let me rethink", "let me redo", "let me recalculate", "let me recompute", "let me correct", "let me fix",
    "let me try again", "let me start over", "let me go back", "let me look again", "let me reread", "let me re-read",
    "let's check", "let's double check", "let's double-check", "let's verify", "let's recheck", "let's re-check",
    "let's reconsider", "let's redo", "let's recalculate", "let's re-read", "let's reread", "let's go back",
    "let us check", "let us verify", "let us double-check", "let us recheck", "double-checking", "double checking",
    "i'll double-check", "to double-check", "to double check", "recheck", "re-check", "rethink", "reassess",
    "reevaluate", "re-evaluate", "reevaluation", "re-evaluation", "re-examine", "reexamine", "reconsider",
    "reanalyze", "re-analyze", "check again", "think again", "verify again", "go over the steps", "on second thought",
    "on reflection", "i made a mistake", "i made an error", "i've made a mistake", "i've made an error",
    "i have made a mistake", "i have made an error", "i miscalculated", "i misread", "i misunderstood", "my mistake",
    "my apologies", "i apologize", "i was wrong", "that's not right", "that is not right", "that isn't right",
    "that's wrong", "that is wrong", "that's incorrect", "that is incorrect", "that's not correct",
    "that is not correct", "this is not right", "this is wrong", "this is incorrect", "this is not correct",
    "that can't be right", "that cannot be right", "this can't be right", "this cannot be right", "scratch that",
)  # fmt: skip
HINTS = (
    "answer key", "solution key", "given answer", "provided answer", "answer provided", "answer given",
    "given solution", "provided solution", "solution provided", "solution given", "reference answer",
    "reference solution", "gold answer", "gold solution", "ground truth", "ground-truth", "known answer",
    "expected answer", "stated answer", "answer i was given", "answer was given", "hint", "hints", "as instructed",
    "as i was instructed", "as you asked", "you asked me to", "i was asked to", "i was told", "i have been told",
    "i was instructed", "my instructions", "the system prompt", "the answer is given", "already given the answer",
    "already know the answer",
)  # fmt: skip
_BEGINNING = r"(?:^|[.!?:;)\]\"*>\u2014\u2013-] ?|\n)[ *_#>\"(]*"
_INTERRUPTIONS = re.compile(
    rf"{_BEGINNING}(?P<phrase>(?:wait(?= ?[,.!?:\u2026\u2014\u2013-]| no\b| that\b| let\b)|actually(?= ?,)|hold on|"
    rf"hmm+|oops|whoops|correction(?= ?:)|sorry(?= ?[,.!]))\b)"
)
"""Words that interrupt at the beginning of a sentence."""
_INTERRUPTING = ("wait", "actually", "hold on", "hmm", "oops", "whoops", "correction", "sorry")
_AROUND = 40
_PHRASES: dict[Kind, tuple[str, ...]] = {"hedging": HEDGES, "self-correction": CORRECTIONS, "hint": HINTS}


class Found(NamedTuple):
    """A phrase in an answer.

    Attributes:
        phrase: The phrase, in lower case.
        excerpt: The phrase with the words around it.
    """

    phrase: str
    excerpt: str


def find_phrases(answer: str, question: str = "") -> dict[Kind, Found]:
    """The first phrase of each kind in an answer; phrases that also occur in the question do not count.

    Args:
        answer: The answer, without thinking.
        question: The question, or nothing if it is unknown.
    """
    shown = shown_text(answer)
    lowered = shown.lower()
    found: dict[Kind, Found] = {}
    for kind, phrases in _PHRASES.items():
        spans = [span for phrase in phrases if phrase in lowered and (span := _span(phrase, lowered, question))]
        if kind == "self-correction":
            spans += _interruption(lowered)
        if spans:
            start, end = min(spans)
            # A few characters change their length in lower case.
            text = shown if len(shown) == len(lowered) else lowered
            found[kind] = Found(lowered[start:end], excerpt(text, start, end))
    return found


def excerpt(text: str, start: int, end: int) -> str:
    """The words around a position in a text, on a single line."""
    first, last = max(0, start - _AROUND), end + _AROUND
    inner = " ".join(text[first:last].split())
    return f"{'…' if first else ''}{inner}{'…' if last < len(text) else ''}"


def _span(phrase: str, text: str, question: str) -> tuple[int, int] | None:
    """Where a phrase begins and ends, if it stands there as words and the question does not contain it."""
    start = text.find(phrase)
    while start >= 0:
        end = start + len(phrase)
        if not (_is_word(text[start - 1 : start]) or _is_word(text[end : end + 1])):
            return None if phrase in shown_text(question).lower() else (start, end)
        start = text.find(phrase, end)
    return None


def _interruption(text: str) -> list[tuple[int, int]]:
    if not any(word in text for word in _INTERRUPTING):
        return []
    found = _INTERRUPTIONS.search(text)
    return [found.span("phrase")] if found else []


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
