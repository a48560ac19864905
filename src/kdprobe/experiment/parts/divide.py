"""How problems are divided, the same for every executor."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def divided(items: Sequence[Item], parts: int) -> list[tuple[Item, ...]]:
    """The items in this many parts of nearly equal length, in order; in fewer if there are not as many items."""
    count = max(1, min(parts, len(items)))
    bounds = [round(index * len(items) / count) for index in range(count + 1)]
    return [tuple(items[first:last]) for first, last in pairwise(bounds)]


def part_name(name: str, index: int, count: int) -> str:
    """The name of a part; `index` begins at 0."""
    return f"{name} {index + 1}/{count}"


def part_seed(seed: int, index: int, count: int) -> int:
    """A seed for a part, far from those of other parts and other seeds."""
    return int(np.random.SeedSequence([seed, index, count]).generate_state(1)[0])
