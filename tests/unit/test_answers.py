import time
from fractions import Fraction

import pytest

from kdprobe.problems.answers import extract, gold_value, matches


@pytest.mark.parametrize(
    ("text", "value", "rule"),
    [
        (r"First \boxed{3}, no, \boxed{42}. #### 7", 42, "boxed"),
        (r"\boxed{\frac{3}{4}}", Fraction(3, 4), "boxed"),
        ("so 5\n#### 6\nwait\n#### 18", 18, "hashes"),
        ("He buys 3 more. The answer is 1,234,567.", 1_234_567, "answer-is"),
        ("Answer: $12.50 for all 3", Fraction(25, 2), "answer-is"),
        ("12 eggs, 4 are left, so 8", 8, "last-number"),
        ("it costs $1,200.", 1200, "last-number"),
        ("the change is -3", -3, "last-number"),
        ("#### -$5", -5, "hashes"),
        ("#### $-5", -5, "hashes"),
        ("20 - 5", 5, "last-number"),
        ("20-5", 5, "last-number"),
        ("The answer is 3/4 of it", Fraction(3, 4), "answer-is"),
        ("they ate .5", Fraction(1, 2), "last-number"),
        ("#### 25%", 25, "hashes"),
        ("The answer is unknown, though 9 is near.\nThe end", 9, "answer-is"),
        ("The answer is unclear.\nBut 9 is near", 9, "last-number"),
    ],
)
def test_reads_the_final_value_and_says_how(text, value, rule):
    extraction = extract(text)
    assert (extraction.value, extraction.rule) == (value, rule)


@pytest.mark.parametrize("text", ["", "I do not know.", r"\boxed{}", "####"])
def test_text_without_a_number_has_no_value(text):
    assert (extract(text).value, extract(text).rule) == (None, "none")


def test_a_fraction_over_zero_has_no_value():
    assert extract("#### 3/0").value is None


@pytest.mark.parametrize(
    ("text", "gold", "equal"),
    [
        ("#### 18", "18", True),
        ("#### 18.00", "18", True),
        ("#### 1200", "1,200", True),
        ("#### 0.5", "1/2", True),
        ("#### -3", "3", False),
        ("#### 18.01", "18", False),
        ("nothing", "18", False),
        ("#### 18", "eighteen", False),
    ],
)
def test_values_are_compared_exactly_as_numbers(text, gold, equal):
    assert matches(extract(text), gold) is equal


def test_gold_values_with_signs_and_fractions():
    assert gold_value("-3") == -3
    assert gold_value(r"\frac{3}{4}") == Fraction(3, 4)
    assert gold_value("none") is None


@pytest.mark.parametrize(
    "text",
    [
        "1" * 100_000,
        "{" * 100_000,
        r"\boxed{" * 20_000,
        "1," * 50_000,
        "#" * 100_000,
        "answer " * 20_000,
        "1/" * 50_000,
    ],
    ids=["digits", "braces", "boxes", "commas", "hashes", "answers", "slashes"],
)
def test_hostile_text_takes_linear_time(text):
    started = time.process_time()
    extract(text)
    assert time.process_time() - started < 2
