import pytest

from kdprobe.students.sequence import value_span


@pytest.mark.parametrize(
    ("solution", "value", "before"),
    [
        # Where it is worked out, not where it is repeated.
        (
            "He has 18 - 8 = 10 books.\nSo 18 + 10 = 28 books.\n#### 28",
            "28",
            "He has 18 - 8 = 10 books.\nSo 18 + 10 = ",
        ),
        ("5 - 2 = $3. So $3 is left.\n#### 3", "3", "5 - 2 = $"),
        # A given that happens to equal the value does not count; neither does part of a longer number or a divisor.
        ("There are 6 boxes. 36 / 6 = 6 each.\n#### 6", "6", "There are 6 boxes. 36 / 6 = "),
        ("It takes 215 + 15 = 230 minutes, so 30 more.\n#### 30", "30", "It takes 215 + 15 = 230 minutes, so "),
        # The last result, when an earlier one happens to be the same number.
        ("2 * 6 = 12, 24 - 12 = 12.\n#### 12", "12", "2 * 6 = 12, 24 - 12 = "),
        # Compared as numbers.
        ("He earns 400 x 3 = $1,200.00 a year.\n#### 1200", "1200", "He earns 400 x 3 = $"),
        ("3 - 5 = -2.\n#### -2", "-2", "3 - 5 = -"),
        # Without an equals sign: the last statement. Without any statement: after the mark.
        ("Ann is 7. Bob is 3. Cleo is 7 too.\n#### 7", "7", "Ann is 7. Bob is 3. Cleo is "),
        ("Half of them.\n#### 7", "7", "Half of them.\n#### "),
        ("Go north.\n#### north", "north", "Go north.\n#### "),
    ],
)
def test_value_is_scored_where_the_reasoning_works_it_out(solution, value, before):
    start, end = value_span(solution, value)
    assert solution[:start] == before
    assert solution[start:end].replace(",", "").removesuffix(".00") == value.lstrip("-")
