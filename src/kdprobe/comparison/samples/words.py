"""The wording of sentences and tables if problems have several answers."""

from __future__ import annotations

from collections.abc import Sequence


def is_several(samples: Sequence[int]) -> bool:
    """Whether any of these numbers of answers per problem is above 1."""
    return max(samples, default=1) > 1


def samples_text(samples: Sequence[int]) -> str:
    """The numbers of answers per problem: `8 samples`, or `1 and 8 samples` if they differ."""
    *others, last = map(str, samples)
    return f"{', '.join(others)} and {last} samples" if others else f"{last} samples"


def in_mean(samples: Sequence[int]) -> str:
    """Words after a difference in accuracy: ` in mean accuracy over 8 samples`; empty for one answer per problem."""
    return f" in mean accuracy over {samples_text(samples)}" if is_several(samples) else ""
