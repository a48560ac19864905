"""Sequences whose items are made when they are used, for what does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

Item = TypeVar("Item")


class LazySequence(Sequence[Item]):
    """A sequence of items, each made anew whenever it is used.

    Args:
        make: Makes the item with an index.
        indices: The indices, in order.
    """

    def __init__(self, make: Callable[[int], Item], indices: Sequence[int]) -> None:
        self._make, self._indices = make, indices

    def __len__(self) -> int:
        """Number of items."""
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> LazySequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | LazySequence[Item]:
        """An item, or several, which are not made yet."""
        if isinstance(index, slice):
            return LazySequence(self._make, self._indices[index])
        return self._make(self._indices[index])
