"""The wording of sentences and tables if problems have several answers."""

from __future__ import annotations

from collections.abc import Sequence


def is_several(samples: Sequence[int]) -> bool:
    """Whether any of these numbers of answers per problem is above 1."""
    return max(samples, default=1) > 1


def samples_text(samples: Sequence[int]) -> str:
    """The numbers of answers per problem: `8 samples`, or `1 or 8 samples` if arms differ."""
    *others, last = map(str, samples)
    return f"{', '.join(others)} or {last} samples" if others else f"{last} samples"


def accuracy_text(samples: Sequence[int]) -> str:
    """What arms are compared by: `accuracy`, or `mean accuracy over 8 samples per problem`."""
    return f"mean accuracy over {samples_text(samples)} per problem" if is_several(samples) else "accuracy"
