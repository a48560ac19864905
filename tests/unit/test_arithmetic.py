import csv
import gzip
import json
import os
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdprobe.comparison.step_accuracy import step_accuracy, step_accuracy_difference
from kdprobe.problems.arithmetic import Arithmetic, arithmetic, arithmetic_steps

DATA = Path(os.environ.get("KDPROBE_TEST_DATA", "/nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="KDPROBE_TEST_DATA names no folder with the real answers")


def read(text):
    return [(step.expression, step.stated, step.right) for step in arithmetic_steps(text)]


@pytest.mark.parametrize(
    "text",
    [
        "2 + 3 * 4 = 14",
        "(2 + 3) * 4 = 20",
        "2(3 + 4) = 14",
        "3 apples * 2 = 6",
        "Each of the 3 boxes * 12 red wax crayons = 36 crayons",
        "60 miles/hour * 2 hours = 120 miles",
        "$1,200.50 - $200.50 = $1,000",
        "16 000 - 1 000 = 15 000",
        "1/3 = 0.33",
        "2/3 = 0.67",
        "2/3 = 0.667",
        "1/8 = 0.13",
        "-1/8 = -0.13",
        "-5 + 3 = -2",
        "\u22125 + 3 = \u22122",
        "5 * -3 = -15",
        "3 - -2 = 5",
        "Total:\n- 5 + 3 = 8",
        "6 \u00d7 7 = 42, for",
        "6 x 7 = 42",
        "6x7=42",
        "60 students x 2/3 = 40 students",
        "8 \u00f7 2 = 4",
        r"8 \div 2 \times 3 = 12",
        r"\frac{3}{4} * 8 = 6",
        "2 1/2 * 4 = 10",
        "20% of 50 = 10",
        "20% * 50 = 10",
        "100% - 20% = 80%",
        "20 / 80 = 25%",
        "20 / 80 * 100 = 25%",
        "9 / 27 * 100% = 33.3%",
        "3/4 of 8 = 6",
        "7/12 / 1/12 = 7",
        "10 / 1 / 2 = 5",
        "2^3 = 8",
        "2 ** 3 + 1 = 9",
        "5 times 3 is 15",
        "20 divided by 4 equals 5",
        "2 plus 3 minus 1 is 4",
        "4.20+9.45+1.35 = 14.999999999999998",
        "12/4 = 3 cups",
        "6 / 4 = 3/2",
        "3 + 4\n= 7",
        "2 m + 3 m = 5 m",
    ],
)
def test_right_steps_are_found_however_they_are_written(text):
    (step,) = arithmetic_steps(text)
    assert step.right


@pytest.mark.parametrize(
    "text",
    [
        "2 + 3 * 4 = 20",
        "2/3 = 0.66",
        "1/8 = 0.12",
        "7/2 = 4",
        "100/3 = 33",
        "20% * 50 = 1000",
        "1,200 + 1 = 1,20",
        "1.87 * 9 = 16.84",
        "20 / 80 = 26%",
        "3 x 4 = 34",
        "-5 + 3 = 2",
        "2^3 = 6",
        "3 apples * 2 = 5 apples",
    ],
)
def test_wrong_steps_are_found_and_called_wrong(text):
    (step,) = arithmetic_steps(text)
    assert not step.right


@pytest.mark.parametrize(
    "text",
    [
        "",
        "18",
        "x = 5",
        "Total = 18",
        "2x + 3 = 7",
        "3x-3 = 63",
        "x + 3 = 7",
        "5 + x = 7",
        "2(x + 1) = 8",
        "3*30 = 30 + M",
        "profit - 5 = 3",
        "cost of apples * 2 = 6",
        "half of 6 + 4 = 7",
        "100/5 = 5A/5",
        "8/3 = 24/Y",
        "100/6 = 16 and 2/3",
        "5/0 = 0",
        "8* = 40",
        "3/4 full is 30",
        "2^1000000 = 1",
        "2 + 2 =",
        "2 + 2 = four",
        "A1 + 2 = 3",
        "10:30 + 2 = 32",
        "= 5 + 3",
        "-5 = 5",
        "3 5 + 1 = 9",
    ],
)
def test_what_is_no_calculation_of_numbers_is_no_step(text):
    assert read(text) == []


def test_chains_go_on_or_stay_equal():
    assert read("2*3 = 6 + 1 = 7") == [("2*3", "6 + 1", True), ("6 + 1", "7", True)]
    assert read("2*(3+4) = 2*7 = 14") == [("2*(3+4)", "2*7", True), ("2*7", "14", True)]
    assert read("2*3 = 7 + 1 = 8") == [("2*3", "7 + 1", False), ("7 + 1", "8", True)]


def test_a_calculators_mark_counts_once_for_what_it_says():
    assert read("48/2 = <<48/2=24>>24 clips") == [("48/2", "24", True)]
    assert read("So <<48/2=25>>25 clips. 25 + 1 = <<25+1=26>>26") == [("48/2", "25", False), ("25+1", "26", True)]


def test_a_step_says_where_it_stands():
    text = "Ann has 3 + 4 = 7 apples, then <<7*2=14>>14"
    first, second = arithmetic_steps(text)
    assert text[slice(*first.where)] == "3 + 4 = 7"
    assert text[slice(*second.where)] == "7*2=14"


def test_the_last_number_of_an_answer_that_was_cut_off_is_not_judged():
    text = "12 * 10 = 120. 120 * 12 = 14"
    assert [step.right for step in arithmetic_steps(text)] == [True, False]
    assert [step.right for step in arithmetic_steps(text, cut_off=True)] == [True]
    assert len(arithmetic_steps(text + "40 in all", cut_off=True)) == 2


def test_going_round_in_circles_counts_once():
    assert arithmetic("13.5 / 10 = 1. " * 50 + "2 + 2 = 4.") == Arithmetic(2, 1)
    assert arithmetic("no numbers").share is None


whole = st.integers(0, 999)


@given(st.lists(st.tuples(whole, st.sampled_from("+-*/")), min_size=1, max_size=5), whole, st.integers(0, 2))
@settings(max_examples=500, deadline=None)
def test_values_are_those_of_pythons_own_arithmetic(parts, last, brackets):
    written = "".join(f"{number} {operator} " for number, operator in parts) + str(last)
    for _ in range(brackets):
        written = f"({written}) * 2 - 1"
    try:
        # An independent reference, of texts that were made here.
        exact = eval("".join(f"F({part})" if part.isdecimal() else part for part in spaced(written)), {"F": Fraction})
    except ZeroDivisionError:
        assert arithmetic_steps(f"{written} = 0") == []
        return
    stated = f"{exact.numerator}/{exact.denominator}" if exact.denominator > 1 else str(exact)
    assert [step.right for step in arithmetic_steps(f"{written} = {stated}")] == [True]
    other = exact + 1
    stated = f"{other.numerator}/{other.denominator}" if other.denominator > 1 else str(other)
    assert [step.right for step in arithmetic_steps(f"{written} = {stated}")] == [False]


def spaced(written):
    return written.replace("(", "( ").replace(")", " )").split()


PIECES = ["3", "4.5", "1,200", "(", ")", "+", "-", "*", "/", "=", "x", "%", "$", " ", "\n", "<<", ">>", "of", "apples"]
PIECES += ["^", "is", r"\frac{1}{0}", r"\frac{1}{2}", "2 1/2", "\u2212", "\u0663", "...", "times", "**", "and"]


@given(st.text() | st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
@settings(max_examples=2000, deadline=None)
def test_any_text_is_read_and_steps_stand_where_they_say(text):
    for step in arithmetic_steps(text):
        start, stop = step.where
        assert text[start:stop].startswith(step.expression)
        assert text[start:stop].endswith(step.stated)


@pytest.mark.parametrize("piece", ["9", "(", ")", "9+", "9*(", "1/", "-", "<<", "9=", "9+9=9", "x ", "9 x ", "\n", " "])
def test_a_hundred_kilobytes_of_anything_come_to_an_end(piece):
    # Quadratic time would make minutes of each.
    arithmetic_steps(piece * (100_000 // len(piece)))


@needs_data
def test_gold_solutions_calculate_right():
    """The exceptions: 44 of 24,601 steps, most of them slips in the gold solutions themselves."""
    lines = (DATA / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [arithmetic_steps(json.loads(line)["answer"]) for line in lines]
    right = [step.right for found in steps for step in found]
    assert len(steps) == 7473
    assert sum(not found for found in steps) < 0.02 * len(steps)
    assert sum(right) / len(right) > 0.998
    assert len(right) > 24_000


@needs_data
def test_right_solutions_calculate_better_than_wrong_ones():
    lines = (DATA / "solutions" / "openai_6b.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    shares = {
        correct: step_accuracy([arithmetic(row["solution"]) for row in rows if row["is_correct"] is correct]).share
        for correct in (True, False)
    }
    assert shares[True] > 0.997 > shares[False] > 0.97


@needs_data
def test_the_papers_answers_differ_in_how_they_calculate():
    csv.field_size_limit(sys.maxsize)
    answers = {}
    for name in ("none", "ground_truth"):
        with gzip.open(DATA / "paper" / "generations" / f"{name}.csv.gz", "rt", encoding="utf-8") as stream:
            answers[name] = [
                arithmetic(row["model_answer"], cut_off=row["model_max_tokens"] == "True")
                for row in csv.DictReader(stream)
            ]
    gained = step_accuracy_difference(answers["ground_truth"], answers["none"])
    assert 0 < gained.interval.low < gained.difference < gained.interval.high


def test_step_accuracy_pools_steps_and_counts_answers_without_any():
    one = step_accuracy([Arithmetic(4, 4), Arithmetic(1, 0), Arithmetic(0, 0)])
    assert (one.answers, one.silent, one.steps, one.right, one.share) == (3, 1, 5, 4, 0.8)
    assert 0 <= one.interval.low < 0.8 < one.interval.high <= 1


def test_step_accuracy_without_any_step_is_not_a_number():
    none = step_accuracy([Arithmetic(0, 0)] * 3)
    assert none.silent == 3
    assert none.share != none.share
    assert none.interval.low != none.interval.low


def test_a_difference_is_paired():
    a = [Arithmetic(2, 2), Arithmetic(2, 0)] * 30
    b = [Arithmetic(2, 2), Arithmetic(2, 0)] * 30
    same = step_accuracy_difference(a, b)
    assert (same.difference, same.interval.low, same.interval.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="different numbers"):
        step_accuracy_difference(a, b[1:])
