"""Words in messages that depend on a number or a class."""

import uuid
from collections import OrderedDict

import numpy as np
import pytest

from kdprobe.words import counted, enumerated, these, with_article


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 stages"), (1, "1 stage"), (2, "2 stages"), (21, "21 stages"), (-1, "-1 stages")]
)
def test_a_noun_follows_its_count(count, text):
    assert counted(count, "stage") == text


def test_a_plural_may_be_stated():
    assert counted(1, "answer has", "answers have") == "1 answer has"
    assert counted(0, "answer has", "answers have") == "0 answers have"


@pytest.mark.parametrize(("count", "text"), [(1, "this problem"), (2, "these problems"), (0, "these problems")])
def test_what_was_counted_is_pointed_to(count, text):
    assert these(count, "problem") == text


@pytest.mark.parametrize(("names", "text"), [("a", "a"), ("ab", "a {} b"), ("abc", "a, b {} c")])
def test_names_are_listed_as_in_a_sentence(names, text):
    assert enumerated([*names]) == text.format("and")
    assert enumerated([*names], "or") == text.format("or")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "an int"),
        (object, "an object"),
        (OrderedDict, "an OrderedDict"),
        (np.ndarray, "an ndarray"),
        (list, "a list"),
        (type(None), "a NoneType"),
        (uuid.UUID, "a UUID"),
        (np.uint8, "a uint8"),
    ],
)
def test_an_article_is_as_it_is_spoken(kind, text):
    assert with_article(kind) == text
