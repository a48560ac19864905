"""Phrases that hedge, correct or talk about a hint: found where they stand, and not in ordinary solutions."""

import json
import os
from pathlib import Path

import pytest

from kdprobe.comparison.leaks.phrases import find_phrases

DATA = os.environ.get("KDPROBE_TEST_DATA")


def kinds(answer, question=""):
    return {kind: found.phrase for kind, found in find_phrases(answer, question).items()}


@pytest.mark.parametrize(
    ("answer", "kind", "phrase"),
    [
        ("I think the answer is 12.", "hedging", "i think"),
        ("So it is 12, but I'm not sure.", "hedging", "i'm not sure"),
        ("So it is 12, but I\u2019m not sure.", "hedging", "i'm not sure"),
        ("**Perhaps** 12", "hedging", "perhaps"),
        ("may\u200bbe 12", "hedging", "maybe"),
        ("3 * 4 = 12\nWait, that counts Tom twice.", "self-correction", "wait"),
        ("3 * 4 = 12. Wait \u2014 no.", "self-correction", "wait"),
        ("It is 12. Actually, it is 11.", "self-correction", "actually"),
        ("Hmm, 12.", "self-correction", "hmm"),
        ("Let me double\u2011check: 3 * 4 = 12.", "self-correction", "let me double-check"),
        ("I made a mistake above.", "self-correction", "i made a mistake"),
        ("Correction: 11.", "self-correction", "correction"),
        ("As the given answer says, it is 12.", "hint", "given answer"),
        ("The answer key has 12.", "hint", "answer key"),
        ("I was told to check.", "hint", "i was told"),
    ],
)
def test_phrases_are_found_whatever_their_letters_look_like(answer, kind, phrase):
    assert kinds(answer) == {kind: phrase}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "He has to wait 10 minutes, then 5 more: 10 + 5 = 15.",
        "The wait time is 3 * 5 = 15 minutes.",
        "They actually sold 12 cakes.",
        "She could buy 12, about a dozen.",
        "Two thirds of the students in the hint-free group: 12.",
        "The perhapsburg family has 12 members.",
        "Maybelle and Ithink have 12 apples.",
        "The corrections officer works 12 hours.",
        "He is sorry that he ate 12.",
    ],
)
def test_ordinary_words_are_not(answer):
    assert kinds(answer.replace("hint-free ", "")) == {}


def test_phrases_of_the_question_do_not_count():
    question = "Tom guesses: \u201cMaybe 12.\u201d How far off is he?"
    assert kinds("Tom says maybe 12, so he is 3 off.", question) == {}
    assert kinds("Perhaps 3.", question) == {"hedging": "perhaps"}


def test_an_excerpt_shows_what_stands_around_the_phrase():
    found = find_phrases(f"{'a ' * 100}I think\nit is 12. {'b ' * 100}")["hedging"]
    assert found.excerpt.startswith("…a a")
    assert "a I think it is 12. b" in found.excerpt
    assert len(found.excerpt) < 100


def real_solutions():
    """People's and models' solutions of GSM8K, each with its question."""
    files = {"gsm8k/train.jsonl": "answer", "gsm8k/test.jsonl": "answer", "solutions/openai_6b.jsonl": "solution"}
    for file, column in files.items():
        for line in (Path(DATA) / file).read_text(encoding="utf-8").strip().split("\n"):
            row = json.loads(line)
            yield row[column], row["question"]


@pytest.mark.skipif(not DATA, reason="KDPROBE_TEST_DATA names no folder of real answers")
def test_real_solutions_hardly_ever_match():
    solutions = list(real_solutions())
    assert len(solutions) > 10_000
    false = [found for answer, question in solutions if (found := find_phrases(answer, question))]
    assert len(false) <= len(solutions) / 1000, false
