"""Sequences whose items are made when they are used."""

from kdprobe.sequences import LazySequence


def test_items_are_made_when_they_are_used_and_each_time():
    made = []

    def make(index):
        made.append(index)
        return index * 10

    items = LazySequence(make, [4, 2, 7, 1])
    some = items[1:]
    assert (len(items), len(some), made) == (4, 3, [])
    assert [*some[::2]] == [20, 10]
    assert (items[-1], items[0]) == (10, 40)
    assert made == [2, 1, 1, 4]
