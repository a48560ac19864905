import pytest

from kdprobe.errors import KdprobeError
from kdprobe.problems.draw import draw, draw_validation
from kdprobe.problems.problem import Problem


def problem(split, number, question=None):
    return Problem(f"{split}-{number}", question or f"What is {number} in {split}?", "#### 1", "1")


def source(**splits):
    made = {split: [problem(split, number) for number in range(8)] for split in ("transfer", "test")}
    for split, changes in splits.items():
        for number, question in changes.items():
            made[split][number] = problem(split, number, question)
    return lambda split: iter(made[split])


def test_validation_problems_come_right_after_those_that_are_trained_on():
    problems = source()
    drawn = draw(problems, transfer=3, test=2)
    assert [p.id for p in draw_validation(problems, drawn, 2)] == ["transfer-3", "transfer-4"]


@pytest.mark.parametrize(
    ("problems", "count", "words"),
    [
        (source(), 6, "has only 8 transfer problems, but 3 for training and 6 for validation"),
        (source(transfer={4: "what is 1 in test"}), 2, "Validation problem transfer-4 is also test problem test-1"),
        (source(transfer={4: "What is 0 in  transfer"}), 2, "transfer-0 and transfer-4 ask the same question"),
        (source(transfer={4: "what is 3 in transfer"}), 2, "transfer-3 and transfer-4 ask the same question"),
    ],
)
def test_validation_problems_that_are_not_their_own_are_refused(problems, count, words):
    drawn = draw(problems, transfer=3, test=2)
    with pytest.raises(KdprobeError, match=words):
        draw_validation(problems, drawn, count)


def test_a_source_that_changes_its_mind_is_refused():
    drawn = draw(source(), transfer=3, test=2)
    with pytest.raises(KdprobeError, match="returned different problems"):
        draw_validation(source(transfer={1: "Why?"}), drawn, 2)
