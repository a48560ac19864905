import os
from pathlib import Path

import pytest

from kdprobe.problems.overlap import overlaps
from kdprobe.problems.problem import Problem

DATA = Path(os.environ.get("KDPROBE_TEST_DATA", "/nowhere"))
QUESTION = "Max bought 16 stamps with a snowflake and 3 more with a truck. How many stamps did Max buy in all?"


def problem(id_, question, group=None):
    return Problem(id_, question, "#### 1", "1", group)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        (QUESTION, "exact"),
        (QUESTION.upper().replace(".", " ;"), "normalised"),
        (QUESTION.replace("16", "1 250").replace("Max bought", "Bella bought"), "n-gram"),
    ],
)
def test_what_was_trained_on_is_found(question, kind):
    other = problem("b", "A train has 12 cars with 40 seats each; how many people can sit in it at once?")
    (found,) = overlaps([other, problem("c", question)], [problem("a", QUESTION), problem("d", "What is 3 and 4?")])
    assert (found.test, found.transfer, found.kind, found.within_group) == ("a", "c", kind, False)
    assert found.share == 1 if kind != "n-gram" else 0.5 <= found.share < 1


def test_another_problem_in_similar_words_is_no_overlap():
    # Ten of its words in a row are the other's, under half of its n-grams.
    near = "Max bought 16 stamps with a snowflake and 3 more at a fair; at 2 dollars each, what is his change?"
    assert overlaps([problem("b", near)], [problem("a", QUESTION)]) == []


def test_a_twin_from_elsewhere_counts_before_one_of_the_same_template():
    same = problem("b", QUESTION.replace("16", "17"), "stamps")
    test = [problem("a", QUESTION, "stamps")]
    (found,) = overlaps([same], test)
    assert found.within_group
    (found,) = overlaps([same, problem("c", QUESTION.replace("3", "4"), "other")], test)
    assert (found.transfer, found.within_group) == ("c", False)
    (ungrouped,) = overlaps([problem("b", QUESTION)], [problem("a", QUESTION)])
    assert not ungrouped.within_group


@pytest.mark.skipif(not DATA.is_dir(), reason="KDPROBE_TEST_DATA names no folder with the real problems")
def test_gsm8ks_test_part_has_three_near_copies_of_training_problems():
    from kdprobe.problems.sources.jsonl import read

    parts = [list(read(DATA / "gsm8k" / f"{part}.jsonl")) for part in ("train", "test")]
    found = overlaps(*parts)
    asked = {problem.id: problem.question for problem in parts[1]}
    assert [overlap.kind for overlap in found] == ["n-gram"] * 3
    assert any(asked[overlap.test].startswith("A plane travels 1200 miles in 3 hours.") for overlap in found)
