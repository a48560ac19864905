"""Runs of words that students can only have from the priming, and which of them count."""

from collections import Counter

import numpy as np
import pytest

from kdprobe.comparison.leaks import marked_answers
from kdprobe.comparison.leaks.marked_answers import mark
from kdprobe.comparison.leaks.plain_words import words
from kdprobe.comparison.leaks.quote_test import quote_test
from kdprobe.comparison.leaks.quotes import Quotes, Reading, priming_passages

QUESTIONS = ["Ann has 3 apples and buys 4. How many has she?", "Bob reads 5 pages a day. How many in 6 days?"]
PRIMING = "You are a patient teacher, so explain each step in clear and simple words."


def passages(prime, known=()):
    return priming_passages(Reading([prime(question)], [question, *known]) for question in QUESTIONS)


def test_passages_are_what_only_the_teacher_read():
    expected = ["you are a patient teacher so explain each step in clear and simple words"]
    assert passages(lambda question: f"{PRIMING}\n\n{question}") == expected
    assert passages(lambda question: question) == []
    # Runs that cross the border to the question are none, even if all questions begin with the same words.
    readings = [Reading([f"{PRIMING} Tom has {n} eggs now."], [f"Tom has {n} eggs now."]) for n in range(3)]
    assert priming_passages(readings) == expected
    # What the student reads, too, is no priming.
    assert passages(lambda question: f"{PRIMING}\n\n{question}", [PRIMING]) == []


def test_what_differs_from_problem_to_problem_is_left_out():
    found = passages(lambda question: f"{question} The correct answer is {len(question)}, so explain how to get there.")
    assert found == ["the correct answer is", "so explain how to get there"]


def test_paraphrases_are_all_found():
    primings = [PRIMING, "Answer as you would answer a curious child."]
    readings = [
        Reading([f"{primings[index % 2]} {QUESTIONS[index // 2]}"], [QUESTIONS[index // 2]]) for index in range(4)
    ]
    assert [text.split()[0] for text in priming_passages(readings)] == ["you", "answer"]


@pytest.mark.parametrize(
    ("answer", "quoted"),
    [
        ("I will explain EACH step, in **clear** and\nsimple words.", "explain each step in clear and simple words"),
        ("in cl\u00adear and sim\u200bple words", "in clear and simple words"),
        ("I explain each step clearly.", ""),
        ("A patient teacher.", ""),
        ("", ""),
    ],
)
def test_quotes_are_runs_of_four_words(answer, quoted):
    quotes = Quotes(passages(lambda question: f"{PRIMING}\n\n{question}"))
    [held] = quotes.occurrences([words(answer)], [[]])
    assert held.any() == bool(quoted)
    if quoted:
        assert quotes.longest(held) == quoted


def test_runs_in_the_question_are_no_quotes():
    quotes = Quotes([" ".join(words(PRIMING))])
    text = words("in clear and simple words")
    assert quotes.occurrences([text], [[]]).any()
    assert not quotes.occurrences([text], [text]).any()


def test_a_priming_too_short_to_quote_has_no_runs():
    assert Quotes(["think well now"]).grams == {}


def held(*rows):
    """Runs in the answers of one student, `[1, n, gram]`."""
    return np.array([rows], dtype=bool)


def test_runs_that_unprimed_answers_contain_elsewhere_are_ordinary():
    ordinary, rare = [1, 0], [0, 1]
    primed = held(*[ordinary] * 10, *[rare] * 6, *[[0, 0]] * 24)
    unprimed = held(*[[0, 0]] * 38, ordinary, ordinary)
    found = quote_test(primed, unprimed)
    assert found.a.any(axis=-1).sum() == 6
    assert not found.b.any()
    # The six swap one by one, and it takes all of them, or all but none: 1 of 64 patterns.
    assert found.p == pytest.approx(1 / 64, abs=0.01)


def test_neither_side_is_favoured_by_the_choice_of_what_is_ordinary():
    """Over many draws without a difference, both sides quote equally often."""
    random = np.random.default_rng(3)
    differences = []
    for _ in range(400):
        a, b = (random.random((1, 60, 8)) < 0.02 for _ in range(2))
        found = quote_test(a, b)
        differences.append(int(found.a.any(axis=-1).sum()) - int(found.b.any(axis=-1).sum()))
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(len(differences))


def test_swapping_gives_the_p_of_enumeration():
    from itertools import product

    random = np.random.default_rng(5)
    a, b = (random.random((2, 7, 3)) < share for share in (0.4, 0.1))

    def excess(swapped):
        sides = [
            np.stack([(a, b)[side != flip][:, index] for index, flip in enumerate(swapped)], axis=1)
            for side in (False, True)
        ]
        # With two seeds, the answers of the other student to the other problems.
        other = sides[1][::-1].astype(int)
        counted = other.sum(axis=1, keepdims=True) - other <= 0.01 * 7
        return sum(sign * (side & counted).any(axis=-1).sum() for sign, side in zip((1, -1), sides, strict=True))

    observed = excess([False] * 7)
    assert observed > 0
    patterns = [excess(swapped) for swapped in product((False, True), repeat=7)]
    assert quote_test(a, b).p == pytest.approx(np.mean([value >= observed for value in patterns]))


def test_questions_are_split_into_words_once_however_many_primings_are_searched_for(monkeypatch):
    split = Counter()
    monkeypatch.setattr(marked_answers, "words", lambda text: split.update([text]) or words(text))
    answers = mark([PRIMING, PRIMING], QUESTIONS, "a")
    for passage in (PRIMING, "explain each step in other words"):
        answers.quotes(Quotes([passage]))
    assert split == {PRIMING: 2, **dict.fromkeys(QUESTIONS, 1)}
