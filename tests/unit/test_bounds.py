"""Bounds, ranges and alternatives name numbers without stating a value."""

import pytest

from kdprobe.problems.answers import extract
from kdprobe.problems.gold import gold_text, gold_value


@pytest.mark.parametrize("frame", ["#### {}", "The answer is {}", "So we find {}", r"\boxed{{{}}}"])
@pytest.mark.parametrize(
    "written",
    [
        "x > 3",
        "x>3",
        "x >= 3",
        "x < 3",
        "> 3",
        r"x \ge 3",
        r"x \neq 3",
        "0 < x < 3",
        "3 < x",
        "3 > x",
        "3 \u2264 x",
        "less than 3",
        "3 or more",
        "3 hours or more",
        "3 or fewer",
        "3+",
        "3 to 5",
        "3 hours to 5 hours",
        "$3 to $5",
        "from 3 to 5",
        "between 3 and 5",
        "3 or 5",
        "3 through 5",
        "3-5",
        "3 - 5",
        "7.5 - 8",
        "3% - 5%",
        "$3-$5",
        "3--5",
        "3 \u2014 5",
        "3~5",
        r"3 \sim 5",
        "3..5",
        "(3, 5)",
        "[3, 5]",
        "5 more than 3",
    ],
)
def test_a_bound_or_a_range_is_no_value(written, frame):
    assert extract(frame.format(written)).value is None


@pytest.mark.parametrize("gold", ["x > 3", "3+", "3 to 5", "3-5", "3~5", "3 or more"])
def test_a_bound_or_a_range_in_gold_has_no_value(gold):
    assert gold_value(gold_text(gold)) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # arrows, quotes, tags and annotations are no relations
        ("> She has 18 eggs.", 18),
        ("> 18", 18),
        ("=> 18", 18),
        ("--> 18", 18),
        ("Total: <b>18</b>", 18),
        ('Total: <span class="total">18</span>', 18),
        ("<answer>18</answer>", 18),
        ("9 * 2 = <<9*2=18>>18 eggs", 18),
        ("<|assistant|>18", 18),
        # the second number is the outcome
        ("The price rises from 8 to 18", 18),
        ("He went from 3 pages a day to 18 pages", 18),
        # not a bound
        ("The answer is 18, 3 more than 15.", 18),
        ("The answer is at least 18.", 18),
        ("The answer is 18 or more precisely 18.0 eggs", 18),
        ("Children of 3 and up pay 18", 18),
        ("54 - 18", 36),
        ("She has 5 + 13 = 18+\n", None),
        ("0.5 or 1/2", 0.5),
    ],
)
def test_what_looks_like_a_bound_or_a_range_keeps_its_value(text, value):
    assert extract(text).value == value
