"""Where an answer runs on into another exercise: exact to the character, even right after a number."""

import pytest

from kdprobe.problems.reading.run_on import run_on

ANSWER = "Tom has 3 apples and 4 pears. #### "


@pytest.mark.parametrize(
    ("before", "following"),
    [
        ("7\n", "Question: How many?"),
        ("7\n", "\nQuestion: How many?"),
        ("7\n\n", "### Problem 2"),
        ("7\n", "> ** Next question 12: How many?"),
        ("7. ", "Question: How many?"),
        ("7.  ", "Question: How many?"),
        ("$7$ ", "Q: How many?"),
        (r"\frac{1}{2} ", "Problem 3: How many?"),
        ("7) ", "Example 4: How many?"),
        ("7\n", "User: How many?"),
        ("7", "<|im_end|> How many?"),
        ("7", "</s>"),
        ("7 ", "[INST] How many?"),
        ("7\n", "<start_of_turn>user"),
    ],
)
def test_it_begins_where_the_next_exercise_does(before, following):
    assert run_on(ANSWER + before + following) == len(ANSWER + before)


@pytest.mark.parametrize(
    "text",
    ["Question: 3 apples.", "The question: 7", "7 Question: How many?", "7 is the question.", "No number. Q: a?"],
)
def test_it_is_none_of_these(text):
    assert run_on(text) is None
