"""The leading rows of a table: by size, per student, and never of quantities that cannot be compared."""

import pandas as pd
import pytest

from kdprobe.api.results.analysed import Analysed
from kdprobe.errors import UsageError

HEADS = pd.DataFrame(
    [
        ("b", 0, 0, "nats", "pooled", 0.1, True),
        ("b", 0, 1, "nats", "pooled", -0.4, True),
        ("b", 1, 0, "nats", "pooled", float("nan"), False),
        ("a", 0, 0, "nats", "pooled", -0.2, False),
        ("a", 0, 1, "nats", "pooled", 0.3, True),
        ("a", 1, 0, "nats", "pooled", -0.3, True),
        ("a", 1, 1, "share", "pooled", 9.0, True),
        ("a", 1, 1, "nats", "problem 1", 7.0, True),
        ("b", 1, 1, "nats", "problem 1", 8.0, True),
    ],
    columns=["student", "layer", "head", "metric", "problem", "value", "moved"],
)
OTHER = pd.DataFrame({"strategy": ["x", "x", "y"], "kl": [1.0, 2.0, 3.0], "cell": ["p", "q", "p"]})
RESULT = Analysed({"heads": {"heads": HEADS}, "map": {"map": OTHER}}, {}, {})


def places(table):
    return list(zip(table["student"], table["layer"], table["head"], strict=True))


def test_the_largest_pooled_values_of_each_student_whatever_their_sign():
    leading = RESULT.top(2, "heads", metric="nats")
    # Of equal sizes, the first row comes first; students are in the table's order.
    assert places(leading) == [("b", 0, 1), ("b", 0, 0), ("a", 0, 1), ("a", 1, 0)]
    assert leading["value"].tolist() == [-0.4, 0.1, 0.3, -0.3]
    assert leading.index.tolist() == [0, 1, 2, 3]
    assert places(RESULT.top(9, "heads", metric="nats")) == [
        ("b", 0, 1), ("b", 0, 0), ("a", 0, 1), ("a", 1, 0), ("a", 0, 0),
    ]  # fmt: skip


def test_columns_choose_rows():
    assert places(RESULT.top(1, "heads", metric="nats", student="a")) == [("a", 0, 1)]
    assert places(RESULT.top(1, "heads", metric="nats", student="a", layer=1)) == [("a", 1, 0)]
    assert places(RESULT.top(1, "heads", metric="nats", problem="problem 1")) == [("a", 1, 1), ("b", 1, 1)]
    assert places(RESULT.top(1, "heads", metric="nats", layer=[1], moved=True)) == [("a", 1, 0)]
    assert RESULT.top(1, "map", by="kl")["kl"].tolist() == [2.0, 3.0]


def test_different_quantities_are_not_ranked_together():
    with pytest.raises(UsageError, match=r"differ in metric.*'nats', 'share'.*Choose one, as in metric='nats'"):
        RESULT.top(3, "heads")
    # What is asked for together is ranked together.
    assert RESULT.top(1, "heads", metric=["nats", "share"], student="a")["value"].tolist() == [9.0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"k": 0, "table": "heads"}, "Set k to at least 1"),
        ({"k": 1, "table": "tails"}, "There is no table 'tails'"),
        ({"k": 1, "table": "heads", "by": "size"}, "no column 'size'.*'value', 'moved'"),
        ({"k": 1, "table": "heads", "by": "metric"}, "holds no numbers. Set `by` to one of 'value'\\."),
        ({"k": 1, "table": "heads", "by": "moved"}, "holds no numbers"),
        ({"k": 1, "table": "heads", "seed": 0}, "no column 'seed'"),
        ({"k": 1, "table": "heads", "student": "c"}, "No row of 'heads' has student='c'. The values are 'b', 'a'"),
        ({"k": 1, "table": "map"}, "no column 'value'"),
    ],
)
def test_what_is_not_there_is_told(asked, said):
    with pytest.raises(UsageError, match=said):
        RESULT.top(**asked)
