"""The order of examples when several processes train together.

With n processes, each gets every n-th batch of one common order. If the examples do not divide evenly, accelerate
would start over from the beginning and count some of them twice; here the last batches are filled with an example
without labels, which does not contribute to any sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import Sampler

from kdprobe.distill.examples import Example
from kdprobe.sequences import LazySequence


def with_filler(examples: Sequence[Example], token: int) -> LazySequence[Example]:
    """The examples, followed by one without labels."""
    filler = Example(problem="", input_ids=[token, token], positions=[], labels=[])
    count = len(examples)
    return LazySequence(lambda index: examples[index] if index < count else filler, range(count + 1))


class EvenOrder(Sampler[int]):
    """The order of a single process, followed by fillers up to a multiple.

    Args:
        examples: The number of examples; the filler's index is the next one.
        multiple: The number of examples that all processes take at once.
        seed: The seed of the order.
        epoch: Returns the current epoch. It is a function, because accelerate does not set the epoch of a sampler that
            resumes in the middle of an epoch with several processes.
    """

    def __init__(self, examples: int, multiple: int, seed: int, epoch: Callable[[], int]) -> None:
        self._order = SeedableRandomSampler(range(examples), data_seed=seed)
        self._epoch = epoch
        self._examples, self._length = examples, math.ceil(examples / multiple) * multiple

    def __iter__(self) -> Iterator[int]:
        self._order.set_epoch(self._epoch())
        yield from self._order
        yield from [self._examples] * (self._length - self._examples)

    def __len__(self) -> int:
        return self._length
