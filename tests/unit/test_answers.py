from fractions import Fraction

import pytest

from kdprobe.problems.answers import extract, matches
from kdprobe.problems.gold import gold_value


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
        ("20 - 5", 15, "last-number"),
        ("20-5", 15, "last-number"),
        ("-28 -30 -32", -32, "last-number"),
        ("8." + "3" * 50, Fraction("8." + "3" * 50), "last-number"),
        ("(3 + 4) - 5", 2, "last-number"),
        ("Tom - 5", 5, "last-number"),
        ("x-5", None, "last-number"),
        ("The change is -$5", -5, "last-number"),
        ("The change: - 5", -5, "last-number"),
        ("The answer is 3/4.", Fraction(3, 4), "answer-is"),
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


@pytest.mark.parametrize(
    ("written", "gold"),
    [
        # thousands, decimals
        ("1,200", "1200"),
        ("1200", "1,200"),
        ("1,234,567.89", "1234567.89"),
        (r"1{,}200", "1200"),
        (r"1,\!200", "1200"),
        (r"1\,200", "1200"),
        ("1\u202f200", "1200"),
        ("1\u00a0200\u00a0000", "1200000"),
        ("18.000", "18"),
        ("007", "7"),
        (".5", "0.5"),
        ("12.", "12"),
        # currency, percent, units
        ("$18.00", "18"),
        (r"\$18", "18"),
        ("\u00a31,200", "1200"),
        ("18\u20ac", "18"),
        ("50%", "50"),
        ("50", "50%"),
        (r"50\%", "50"),
        ("1.5 hours", "1.5"),
        ("12th", "12"),
        # signs
        ("-3", "-3"),
        ("\u22123", "-3"),
        ("\u20133", "-3"),
        ("- 3", "-3"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("$\u22125", "-5"),
        ("-.5", "-1/2"),
        ("+5", "5"),
        # fractions
        ("3/4", "0.75"),
        ("3 / 4", "0.75"),
        ("-1/2", "-0.5"),
        ("1,200/4", "300"),
        (r"\frac{1}{2}", "0.5"),
        (r"\dfrac{ 1 }{ 2 }", "0.5"),
        (r"-\frac{1}{2}", "-0.5"),
        (r"\frac{-1}{2}", "-0.5"),
        ("2 1/2", "2.5"),
        ("-2 1/2", "-2.5"),
        (r"2\frac{1}{2}", "2.5"),
        ("1.5", "1 1/2"),
        ("\u00bd", "0.5"),
        ("2\u00bd", "2.5"),
        ("-\u2153", "-1/3"),
        ("0.5", "1/2"),
        # other separators of thousands
        ("1'200", "1200"),
        ("1\u2009200\u2009000", "1200000"),
        ("1_200", "1200"),
        ("1,00,000", "100000"),
        ("12,34,567.5", "1234567.5"),
        ("1.234.567", "1234567"),
        ("1.200,50", "1200.5"),
        ("$1 200", "1200"),
        # digits of other scripts
        ("\uff11\uff0c\uff12\uff10\uff10", "1200"),
        ("\u0663\u066b\u0665", "3.5"),
        # powers, magnitudes, signs in words
        ("1e3", "1000"),
        ("1.5E+3", "1500"),
        ("2e-1", "0.2"),
        (r"2 \times 10^{3}", "2000"),
        ("2 x 10^3", "2000"),
        ("2\u00d710\u00b3", "2000"),
        ("10^3", "1000"),
        ("2 million", "2000000"),
        ("$1.5 billion", "1500000000"),
        ("3 thousand", "3000"),
        ("1.5k", "1500"),
        ("$2M", "2000000"),
        ("negative 18", "-18"),
        ("minus 18", "-18"),
        # fractions again
        (r"\frac12", "0.5"),
        (r"\tfrac{3}4", "0.75"),
        (r"\cfrac{3}{4}", "0.75"),
        (r"\frac{1,200}{7}", "1200/7"),
        (r"2\frac12", "2.5"),
        ("2 and 1/2", "2.5"),
        ("2 and a half", "2.5"),
        ("3\u20444", "0.75"),
        # forty digits are read, and compared to the last
        ("9" * 40, "9" * 40),
    ],
)
@pytest.mark.parametrize("frame", ["{}", "#### {}", "\\boxed{{{}}}", "The answer is {}.", "so it is **{}**"])
def test_a_value_is_the_same_however_it_is_written(written, gold, frame):
    assert matches(extract(frame.format(written)), gold)


@pytest.mark.parametrize(
    ("written", "gold"),
    [
        # a percent sign is a unit, not a division
        ("50%", "0.5"),
        # a comma is no decimal point, a point groups nothing, and a plain space ends a number
        ("1,5", "1.5"),
        ("1.200", "1200"),
        ("1 200", "1200"),
        # what is no number is not read in part
        ("1,5", "1"),
        ("1,23", "123"),
        ("12.05.2024", "12.05"),
        ("1 200", "1"),
        ("10:30", "10"),
        ("1/2/2024", "1/2"),
        ("2024-01-15", "2024"),
        ("2x", "2"),
        (r"2\pi", "2"),
        (r"0.\overline{3}", "0"),
        ("0.333...", "0.333"),
        ("1e999", "1"),
        ("2M", "2"),
        (r"\frac{9 \times 2}{3}", "9"),
        (r"5\sqrt{3}", "5"),
        ("5'11", "5"),
        ("1,2,3", "1"),
        ("2-1/2", "2"),
        # rounded is not equal
        ("0.33", "1/3"),
        ("33.3", "33.33"),
        # what is too long for anybody's answer is not read in part
        ("9" * 50, "9" * 10),
        ("9" * 50, "9" * 40),
        ("1" * 41 + "2", "2"),
        ("3/0", "0"),
        ("2 1/0", "2"),
        ("-3", "3"),
        # a gold value of two numbers is none
        ("10:30", "10:30"),
        ("10", "10:30"),
    ],
)
def test_what_is_not_the_same_value(written, gold):
    assert not matches(extract(f"#### {written}"), gold)


def test_what_was_read_is_told_without_the_space_before_it():
    text = "#### 2\u00bd or so"
    extraction = extract(text)
    assert (extraction.written, extraction.where) == ("2\u00bd", (5, 7))


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
def test_hostile_text_comes_to_an_end(text):
    # Quadratic time would make minutes of each; benchmarks/extractors.py has the times.
    extract(text)
