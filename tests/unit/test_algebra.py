r"""Numbers that are part of an expression have no value of their own; units, even with exponents, do not matter."""

from fractions import Fraction

import pytest

from kdprobe.problems.answers import extract
from kdprobe.problems.gold import gold_text, gold_value

ALGEBRA = [
    "6 - 5i",
    "6 - 5 i",
    "-2 + 7i",
    "2k + 2",
    "3a^2",
    "x^2",
    "a^2+b^2",
    "4t",
    "5 x",
    r"25 \pi",
    r"70 \sqrt{2}",
    r"\frac{\sqrt{3}}{3}",
    "4210_{5}",
    "2ab",
    "2xy",
    "2 ab",
    "3 + 2ab",
    "2ab + 3",
    "4ab^2",
    "2gh",
    "2AB",
    "2A",
    "2+a",
    "2 - a",
    "5/a",
    "2(a+b)",
    "2x + 3",
    "f(2)",
    r"2\theta",
    r"3\beta + 1",
    "2\u03b1",
    # relations, intervals, several values
    r"x \ge 3",
    "x > 3",
    "0 < x < 3",
    r"(5,\infty)",
    r"(-\infty, 2) \cup (3, \infty)",
    r"\pm 3",
    "\u00b13",
    "10 \u00b1 2",
    r"1 \pm \sqrt{19}",
    "1,-2",
    "x=1, y=2",
    r"x = 1 \text{ or } x = 2",
    r"1 \text{ and } 2",
    "5 boys and 6 girls",
    "2 : 3",
    # functions
    r"\ln 2",
    r"\log_2 8",
    r"\sin 30",
    r"\cos 60^\circ",
    r"\binom{5}{2}",
    r"{5 \choose 2}",
    r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
    "5!",
    "2(3)(4)",
    "10 mod 3",
    "10 % 3",
    r"\lceil 8.2 \rceil",
    "|-9|",
    "7C2",
    "7 C 2",
    "7 P 2",
    "7 choose 2",
    r"7 \choose 2",
    "C(7, 2)",
    "nCr(7,2)",
    "^7C_2",
    "{}_7C_2",
    "{}^{7}C_{2}",
    "C_7^2",
    "7!/5!",
    "7! / 5!",
    r"{5 \over 7}",
    r"5 \quad 7",
    "5 7",
    # quantities of two units
    "1h 20m",
    "1h20",
    "5ft 6in",
    "5' 6\"",
    r"5\text{ hours }20\text{ minutes}",
    r"18 \text{ or } 20",
]


@pytest.mark.parametrize("written", ALGEBRA)
def test_algebra_in_a_box_or_in_gold_has_no_value(written):
    assert extract(rf"So it is \boxed{{{written}}}").value is None
    assert gold_value(gold_text(written)) is None


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 6 - 5i",
        r"The answer is x \ge 3",
        r"The answer is (5, \infty)",
        "The answer is 10 \u00b1 2",
        "The answer is (3, 4)",
        "The answer is [3, 4]",
        "The answer is 3 and 4.",
        "The answer is $5 and 25 cents",
        "The answer is 1h 20m",
        "The answer is 2k + 2",
        "so it is \u00b15",
        r"so 10 \pm 2",
        r"\boxed{\text{B}}, as 12 is more than 3",
        "The report of GPT-4",
        "The answer is half of 10",
        "The answer is thirty-one and a quarter",
        "The answer is \u00a34 50p",
        "There are 7 C 2 ways",
        "There are C(7, 2) ways",
        "There are $^7C_2$ ways",
        r"There are \binom{7}{2} ways",
        "There are 7! ways",
        "The answer is 7 choose 2",
        "The answer is 2ab.",
        "#### 2ab",
        "#### 3 + 2ab",
        "#### 2(a+b)",
        "The answer is x + 3",
        "so y = 2x + 3",
    ],
)
def test_what_holds_a_number_but_is_none_is_not_read_by_its_front_part(text):
    assert extract(text).value is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        # an exponent of a unit is no exponent of its number
        ("18 cm^2", 18),
        ("18cm^2", 18),
        ("18ml", 18),
        ("18km/h", 18),
        ("18pm", 18),
        ("18lbs", 18),
        ("18th", 18),
        ("18 \\mu m", 18),
        ("18 in^3", 18),
        ("10 m/s^2", 10),
        (r"15\mbox{ cm}^2", 15),
        (r"864 \text{ inches}^{2}", 864),
        (r"10\ \mathrm{cm}^2", 10),
        ("3 cm * 6 cm = 18 cm^2", 18),
        # the side of an equation with the value is plain
        (r"\sqrt{324} = 18", 18),
        (r"\pi \approx 3.14", Fraction("3.14")),
        ("3! = 6", 6),
        ("x = 18", 18),
        (r"2^{3}\cdot 3", 24),
        # LaTeX between a number and what belongs to it
        (r"5\text{ m} + 7\text{ m} = 12\text{ m}", 12),
        (r"\$5\text{ per day} \times 7 = \$35", 35),
        (r"10\% \text{ of } 50 = 5", 5),
        (r"5\,\mathrm{cm} \cdot 7\,\mathrm{cm} = 35\,\mathrm{cm}^{2}", 35),
        (r"\left(3 + 4\right) \times 2 = 14", 14),
        (r"18\text{ million}", 18_000_000),
        (r"\$18 \text{ million}", 18_000_000),
        (r"18\text{k}", 18_000),
        (r"10\ 000", 10_000),
        ("10~000", 10_000),
        (r"10\!000", 10_000),
        ("$5m", 5_000_000),
        ("5m", 5),
        (r"0.5 \text{ km}", Fraction(1, 2)),
    ],
)
@pytest.mark.parametrize("frame", ["\\boxed{{{}}}", "The answer is {}.", "{}"])
def test_a_unit_keeps_its_number(written, value, frame):
    assert extract(frame.format(written)).value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The answer is 18 - a bargain", 18),
        ("The answer is => 18", 18),
        ("The answer is <b>18</b>", 18),
        ("The answer is <18>", 18),
        ("The answer is 18! She did it 3 times.", 18),
        ("The answer is 18, 3 more than 15.", 18),
        ("The answer is 4! = 24.", 24),
        ("The answer is 7C2 = 21.", 21),
        ("The answer is 7 C 2 = 21.", 21),
        ("The answer is 7 choose 2 = 21", 21),
        ("The answer is C(7,2) = 21", 21),
        ("The answer is {}^7C_2 = 21", 21),
        (r"\boxed{C(7,2) \cdot 2 = 42}", 42),
        (r"\boxed{2ab = 12}", 12),
        (r"\boxed{f(2) = 5}", 5),
        ("It is 18 C.", 18),
        ("The cost C(3) = 18", 18),
        ("So 7! / 5! = 42 ways", 42),
        ("The answer is **18!!** She did it 3 times.", 18),
        (r"The answer is $\binom{7}{2} = 21$.", 21),
        ("The answer is <<9*2=18>>18", 18),
        ("The answer is __18__", 18),
        ("The answer, in dollars, is 18. It took 3 days.", 18),
        (r"\boxed{\textbf{(B) } 18}", 18),
        (r"It is \boxed18.", 18),
        ("She earns $18 (from Eq. 2).", 18),
        ("She earns $18.\n\nNote 1: eggs are fresh.", 18),
        ("Day 1: 5 pages\nDay 2: 10 pages\nDay 3:", 10),
        ("The answer is 18.<\uff5cend\u2581of\u2581sentence\uff5c>The answer is 7", 18),
    ],
)
def test_what_stands_around_a_value_does_not_change_it(text, value):
    assert extract(text).value == value


@pytest.mark.parametrize("gold", ["02-Jan", "Jan-02", "#DIV/0!", "#N/A"])
def test_what_a_spreadsheet_made_of_a_gold_value_is_no_number(gold):
    assert gold_value(gold_text(gold)) is None
