"""Exceptions from elsewhere, quoted in kdprobe's sentences."""

import pytest

from kdprobe.errors import first_line, quoted


class UnsayableError(Exception):
    def __str__(self):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "quote"),
    [
        (ValueError("boom\nsecond  line.\n"), "ValueError: boom second line"),
        (KeyError("x"), "KeyError: 'x'"),
        (KeyError(), "KeyError: no message"),
        (UnsayableError(), "UnsayableError: no message"),
        (SystemExit(3), "SystemExit: 3"),
        (ValueError("word " * 1000), f"ValueError: {('word ' * 60).strip()} …"),
    ],
)
def test_an_exception_is_quoted_in_one_line(error, quote):
    assert quoted(error) == quote


def test_the_first_line_of_any_exception_is_known():
    assert first_line(ValueError("\nboom\nsecond line")) == "boom"
    assert first_line(UnsayableError()) == "UnsayableError"
