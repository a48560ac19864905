"""External text can be written to any file, and ordinary text is left unchanged."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdprobe.problems.problem import Problem
from kdprobe.text import safe_text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("", ""),
        ("Tom has 5 🍎 apples,\nand\tsome\r\npears - e\u0301\u200d", None),
        ("half \ud83c of one", "half \ufffd of one"),
        ("\udf4e", "\ufffd"),
        ("\ud83c\udf4e whole", "🍎 whole"),
        ("a\x00b\x1b[31mc\x7f\x9b", "a\ufffdb\ufffd[31mc\ufffd\ufffd"),
        ("a\x0bb\x0cc\x85d", "a b c d"),
    ],
)
def test_what_becomes_of_a_text(text, safe):
    assert safe_text(text) == (text if safe is None else safe)


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_written_and_is_safe_once(text):
    safe = safe_text(text)
    safe.encode()
    assert "\x00" not in safe
    assert safe_text(safe) == safe


def test_a_problem_holds_safe_text_only():
    row = {"question": "How many \ud83c?\x00", "answer": "\udf4e 5\n#### 5\x00"}
    problem = Problem.from_gsm8k("a\ud800", row, group="g\x00")
    assert (problem.id, problem.question, problem.group) == ("a\ufffd", "How many \ufffd?\ufffd", "g\ufffd")
    json.dumps(problem.as_row(), ensure_ascii=False).encode()
