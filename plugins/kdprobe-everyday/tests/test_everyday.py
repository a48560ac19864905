"""The contract of the tasks, and that every document has exactly one right answer."""

import pytest

from kdprobe.testing import check_task, host_with
from kdprobe_everyday.tasks import documents


@pytest.fixture(scope="module")
def host():
    return host_with("kdprobe_everyday")


@pytest.mark.parametrize("name", ["everyday", "everyday_kinds", "everyday_opposites", "everyday_sequences"])
def test_contract(host, name):
    check_task(host, name)


@pytest.mark.parametrize("generate", [documents.kinds, documents.opposites, documents.sequences])
def test_four_different_choices_and_no_position_that_is_mostly_right(generate):
    rows = list(generate(version=1.0)["test"])
    assert len({(row["text"], row["choices"][row["gold"]]) for row in rows}) == len(rows) >= 100
    assert all(len(set(row["choices"])) == 4 for row in rows)
    positions = [row["gold"] for row in rows]
    assert all(0.15 < positions.count(position) / len(rows) < 0.35 for position in range(4))


def test_no_wrong_choice_is_right():
    for row in documents.opposites()["test"]:
        word = row["text"].removeprefix("Question: What is the opposite of ").partition("?")[0]
        pairs = [set(pair.split()) for pair in documents.OPPOSITES.replace("\n", "|").split("|")]
        assert [{word, choice} in pairs for choice in row["choices"]].count(True) == 1
    for row in documents.kinds()["test"]:
        word = row["text"].removeprefix("Question: What kind of thing is ").partition("?")[0]
        assert [word in documents.KINDS[choice].split() for choice in row["choices"]].count(True) == 1
    for row in documents.sequences()["test"]:
        shown = row["text"].partition(": ")[2].partition(": ")[2].partition("?")[0].split(", ")
        following = row["choices"][row["gold"]]
        assert any(" ".join([*shown, following]) in sequence for sequence in documents.SEQUENCES)
        assert not set(shown) & set(row["choices"])
