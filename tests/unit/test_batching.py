import pytest

from kdprobe.models.batching import batches, common_prefix


@pytest.mark.parametrize(
    ("sequences", "prefix"),
    [
        ([[1, 2, 3, 4], [1, 2, 5]], [1, 2]),
        ([[1, 2, 3], [4, 2, 3]], []),
        # One token of each is left over, to be read.
        ([[1, 2, 3], [1, 2, 3]], [1, 2]),
        ([[1, 2], [1, 2, 3, 4]], [1]),
        ([[1], [1, 2]], []),
        # One sequence shares nothing.
        ([[1, 2, 3]], []),
        ([], []),
        ([[], [1, 2]], []),
    ],
)
def test_what_sequences_begin_with(sequences, prefix):
    assert list(common_prefix(sequences)) == prefix


def test_batches_are_of_similar_length_and_longest_first():
    assert list(batches([2, 7, 5, 7, 1], 2)) == [[1, 3], [2, 0], [4]]
    assert list(batches([3, 3, 3], 1)) == [[0], [1], [2]]
    assert list(batches([], 4)) == []
