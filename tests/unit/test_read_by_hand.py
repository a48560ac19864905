"""The values read by hand belong to the answers that the script draws, and are counted correctly."""

import importlib.util
import os
from fractions import Fraction
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "read_by_hand.py"
spec = importlib.util.spec_from_file_location("read_by_hand", FILE)
read_by_hand = importlib.util.module_from_spec(spec)
spec.loader.exec_module(read_by_hand)
DATA = Path(os.environ.get("KDPROBE_TEST_DATA", "/nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="KDPROBE_TEST_DATA names no folder with the real answers")


@needs_data
def test_the_values_are_those_of_the_answers_that_are_drawn():
    texts = read_by_hand.answers(DATA)
    values = read_by_hand.marked(texts)
    assert sorted(values) == read_by_hand.drawn(texts)
    numbers = [Fraction(value) for value in values.values() if value not in {None, "ambiguous"}]
    assert (len(values), len(numbers), list(values.values()).count(None)) == (200, 150, 32)


@needs_data
def test_other_answers_under_the_same_ids_are_refused():
    texts = read_by_hand.answers(DATA)
    changed = {answer: text + " " for answer, text in texts.items()}
    with pytest.raises(SystemExit, match="does not hold the answers that were read by hand"):
        read_by_hand.marked(changed)


def test_each_way_to_read_an_answer_has_its_outcome():
    texts = dict.fromkeys([("file", row) for row in range(4)], "So it is \\boxed{3}") | {("file", 4): "None at all."}
    values = dict(zip(texts, ["3.0", "4", None, "ambiguous", "3"], strict=True))
    table = read_by_hand.measured(texts, values, "robust")
    assert table["all"] == {"right": 1, "wrong value": 1, "missed": 1, "invented": 1}
    assert table["mark at the beginning only"] == {"right": 1, "wrong value": 1, "missed": 0, "invented": 1}
    assert table["no mark, finished"] == {"right": 0, "wrong value": 0, "missed": 1, "invented": 0}
