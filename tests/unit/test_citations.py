"""Numbers of sources, notes and equations are not values."""

import pytest

from kdprobe.problems.answers import extract
from kdprobe.problems.reading.citations import without_citations


@pytest.mark.parametrize(
    "written",
    [
        "18 [1]",
        "18 [1].",
        "18.[1]",
        "18[1]",
        "18 eggs [1]",
        "**18** [1]",
        "$18$ [3]",
        "18 eggs [1][2]",
        "18 eggs [1, 2]",
        "18 eggs [1-3]",
        "18 eggs [1] at the farm [2]",
        "18 eggs.[^1]",
        "18 eggs^{[1]}",
        "18 eggs<sup>1</sup>",
        "18 cm<sup>2</sup>",
        "18<sup>[1]</sup>",
        "18 eggs\u30101\u2020source\u3011",
        "18 eggs\u30104:0\u2020source\u3011",
        "18 eggs [source 2]",
        "18 eggs (ref. 2)",
        "18 eggs (see p. 12).",
        "18 eggs (Table 3)",
        "18 eggs (source: farm report, 2020)",
        "18 eggs (Smith et al., 2020, p. 4).",
        "18 eggs (Smith & Jones, 2020)",
        r"18 eggs \cite{smith2020}",
        r"18 \tag{1}",
        r"18 \quad (1)",
        "18 eggs ([source](https://example.com/12))",
        "18 eggs.[1]\n\n[1] Page 3 of the book",
        "18 eggs.\n\n[1] https://example.com/12",
        "18 eggs.\n\n[^1]: Page 3 of the book",
        "18 eggs.\n\n1. https://example.com/12",
    ],
)
@pytest.mark.parametrize("frame", ["She has {}", "The answer is {}", "#### {}"])
def test_a_reference_is_no_value(written, frame):
    assert extract(frame.format(written)).value == 18


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("So she has [18].", 18),
        ("So the total amount [18]", 18),
        ("Answer: [18]", 18),
        ("[18]", 18),
        ("So the total is **[18]**", 18),
        ("So the total is $[18]$", 18),
        ('So the total is "[18]"', 18),
        ("[1] 5 apples\n[2] 7 pears", 7),
        ("The result is [1]", 1),
        (r"So \(18\)", 18),
        ("She needs 3 (18)", 18),
        ("So 6[3] = 18", 18),
        ("She was born in (March 2020)", 2020),
        ("10<sup>2</sup>", 100),
        ("10<sub>2</sub>", None),
        ("x<sub>1</sub> = 3", 3),
    ],
)
def test_a_value_in_brackets_is_no_reference(text, value):
    assert extract(text).value == value


def test_positions_do_not_change():
    text = "She has 18 eggs [1] (Smith, 2020), see https://example.com/12 and 3.\n\n[1] Page 3"
    plain = without_citations(text)
    assert len(plain) == len(text)
    assert plain.split() == ["She", "has", "18", "eggs", ",", "see", "https://example.com/xx", "and", "3."]
