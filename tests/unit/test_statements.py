"""What `robust` takes as the statement of the answer, and what it ignores."""

from fractions import Fraction

import pytest

from kdprobe.problems.answers import extract


def value(text):
    return extract(text).value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # behind the last equals sign
        ("Answer: 9 * 2 = 18", 18),
        (r"\boxed{9 \times 2 = 18}", 18),
        (r"\boxed{\frac{9 \times 2}{3} = 6}", 6),
        (r"\boxed{x = 18}", 18),
        ("So the answer is $5 x 50 + $75 x 15 = $250 + $1,125 = $1,375.00. This", 1375),
        ("#### 12 eggs + 6 eggs = 18 eggs", 18),
        ("Answer: John has 3 bags with 4 apples, so 3 * 4 = 12 apples", 12),
        ("The answer is 18 (9 * 2 = 18, and 5 are left)", 18),
        ("The answer is 18 = 9 * 2", 18),
        # equations that calculate on, check, or explain
        ("Answer: 48/2 = 24, then 48 + 24 = 72", 72),
        ("Answer: 16 - 7 = 9 eggs, 9 * 2 = 18 dollars, 18 * 7 = 126 dollars a week", 126),
        ("Answer: 9 * 2 = 18 dollars, since 18 / 2 = 9", 18),
        ("Answer: 9 * 2 = 18 dollars, since 16 - 7 = 9", 18),
        # a calculation without a result
        (r"\boxed{9 \times 2}", 18),
        ("The answer is 20% of 50", 10),
        ("The answer is 40% - 32%", 8),
        ("Seats that remain: 54 - 18", 36),
        ("So she has 16 - 7 =", 9),
        ("Therefore 5 + 3 = ?", 8),
        ("It costs 13.00 $28.00 + $23.00", 51),
        # every way of saying so
        ("**Answer:** 18", 18),
        ("**Final Answer**\n\n18 dollars, of 20", 18),
        ("Final Answer: The final answer is $18$. I hope it is correct, 100%.", 18),
        ('{"steps": 3, "answer": 18, "confidence": 5}', 18),
        ("<answer>18</answer> after 3 steps", 18),
        ("The answer to the second question is 18. It took 3 steps.", 18),
        ("The answer should be 18. I did 3 steps.", 18),
        ("I'll put the answer in a box: $113.00. I added 3 numbers.", 113),
        ("We can conclude that she has 18 eggs. She had 20.", 18),
        (r"The answer: \(18\), after 3 steps", 18),
        (r"\boxed{\text{18 dollars}}", 18),
        (r"$\boxed{18$. There were 3 steps.", 18),
        ("\x08oxed{18} in 3 steps", 18),
        ("Answer\uff1a\uff11\uff18 in 3 steps", 18),
        # "final" counts more than what is said of other questions
        ("The final answer is 8. A new question: what is 5 + 17? The answer is 22.", 8),
        # in words
        ("The answer is twenty-five dollars for 3 days", 25),
        ("The answer is one hundred and five. There were 3.", 105),
        ("Answer: negative eighteen", -18),
    ],
)
def test_the_statement_of_the_answer_is_read_to_its_end(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is 576. 576 is 16 times 36. The answer is", 576),
        (r"\boxed{18} and again \boxed{1", 18),
        (r"The balance is $220. The final answer is: $\boxed{2", 220),
        ("The answer is $1060.80. The answer is $106", Fraction("1060.8")),
        ("The answer is not 5. It has 18 parts.", 18),
        # a row of boxes answers the question first
        (r"\boxed{4} and \boxed{11}", 4),
        (r"$\boxed{4}$ $\boxed{11}$ $\boxed{4}$", 4),
        (r"First \boxed{3}, no, \boxed{42}", 42),
    ],
)
def test_an_earlier_statement_is_read_where_the_last_states_nothing(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#### 1. Count the eggs\nShe has 18 eggs.\n#### 2. Multiply", 18),
        ("#### Step 3: Multiply by 2\n9 * 2 = 18\n#### Step 4", 18),
        ("She makes $18.\n\n## Step 7:", 18),
        ("She makes $18.\n\nStep 7:  Step 8:  Step 9", 18),
        ("This is as in steps 3 and 4", None),
        ("so she has 18.\nHere are the steps:\n1. Count the eggs\n2. Subtract\n3.", 18),
        ("I did this to find the answer:\n1. I counted 3 times\n2. I found 18", 18),
        ("1) 5 apples\n2) 7 pears", 7),
        ("- 5 apples\n- 7 oranges", 7),
        ("#### 18. I hope that helps", 18),
        ("Solving, x = 90. Statement (1) is sufficient", 90),
        ("She has 18 eggs. x2 and B3 are names.", 18),
    ],
)
def test_what_names_a_step_or_an_item_is_no_value(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A) 12 B) 18 C) 20\nThe answer is B.", 18),
        ("A. 5\nB. 50 - 20 = 30\nC. 7\nThe best answer is B, as 12 km are too far", 30),
        ("The answer is (B) 18 km", 18),
        ("Answer: C. 18", 18),
        ("(1) 3 balls are red. (2) 4 balls are blue. (3) 5 are not. The answer is (2).", 4),
        ("The answer is (18).", 18),
        # the value of the letter is not known
        ("The answer is B, because after 3 hours he has gone 12 km.", None),
        ("So 5 of them. The correct answer is (D). Statement 2 gives 7.", None),
        (r"The time is 15 or 30 minutes, so $\boxed{B}$. It is 30 minutes.", None),
        ("Answer: 8% is used. The correct answer is (A), because 12% is more.", 8),
        (r"The final answer is: $\boxed{60}$ and the day is $\boxed{Monday}$. 3 days", 60),
    ],
)
def test_a_letter_stands_for_what_was_listed_and_for_no_number_nearby(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 9 or 10",
        "The answer is between 10 and 20",
        "It takes 10-20",
        r"\boxed{3, 4}",
        "The answer is 2 hours and 30 minutes",
        "She needs 2 hours and 30 minutes",
        "Each of the 3 friends says that the answer is that 4 of them get 7 apples",
        "The answer is 2x",
        r"The answer is 5\sqrt{3}",
        r"\boxed{2\pi}",
    ],
)
def test_what_may_mean_two_things_is_no_value(text):
    extraction = extract(text)
    assert extraction.value is None
    assert extraction.written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$48$ \nFirst find the days in 4 weeks. There are 7 days in", 48),
        ("12.  \nThis problem has 3 steps.", 12),
        ("**2.5**\n## Step 1: There are 4 values", Fraction(5, 2)),
        # worked out, or the first item of a list, or the beginning of a sentence
        ("12\n## Step 1: Add them.\n4 + 4 = 8 eggs", 8),
        ("1.  Count the eggs\n2. There are 8", 8),
        ("3 bags hold 4 apples.\nSo there are 12", 12),
    ],
)
def test_a_bare_number_at_the_beginning_is_read_where_the_rest_explains_it(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She makes 18 dollars.\n\nQuestion: Tom has 3 apples and eats 2.\nAnswer: 1", 18),
        ("She makes 18 dollars. Question: Tom has 3 apples. The answer is 3.", 18),
        ("Answer: 18\nQ: Tom has 5\nA: 9", 18),
        ("#### 18\n\n**Question 2:** How many?\n#### 5", 18),
        ("The answer is 18.\n\n### Problem 2\nThe answer is 5.", 18),
        ("\\boxed{18}\n\nUser: What is 5 + 5?\nAssistant: \\boxed{10}", 18),
        ("It is 18<|im_end|>\n<|im_start|>user\nThe answer is 7", 18),
        ("The answer is 18</s>[INST] the answer is 7 [/INST]", 18),
        # the question again, and then the answer
        ("Question: Janet has 5 ducks. How many legs?\nAnswer: 10", 10),
        # no exercise of its own
        ("It asks: which question: 3 or 4? The answer is 5.", 5),
    ],
)
def test_what_runs_on_into_another_exercise_is_left_out(text, expected):
    assert value(text) == expected


def test_what_was_read_stands_where_it_says():
    text = "Antwort\uff1a The answer is 9 * \uff12 = \uff11\uff18 eggs"
    extraction = extract(text)
    assert extraction.written == "\uff11\uff18"
    assert text[slice(*extraction.where)] == "\uff11\uff18"
