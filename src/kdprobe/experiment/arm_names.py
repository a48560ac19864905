"""The names of a run's arms, and how configs and commands may refer to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

BARE = "none"
"""The built-in strategy that gives the teacher the bare question."""
UNPRIMED = "unprimed"
"""The name of that strategy in a run, unless it has a label."""


def display_name(strategy: str, label: str | None) -> str:
    """A strategy's name in a run: its label; without one, `unprimed` for `none`, and the name of any other."""
    return label or (UNPRIMED if strategy == BARE else strategy)


def student_name(arm: str, seed: int, seeds: Sequence[int]) -> str:
    """A student's name in a run; it includes the seed if there are several."""
    return arm if len(seeds) == 1 else f"{arm}@{seed}"


def resolved(name: str, strategies: Mapping[str, str]) -> str | None:
    """Resolves a name: a display name stands for itself, a strategy's name for the only arm with that strategy.

    Args:
        name: A display name, or the name of a strategy.
        strategies: Display names mapped to the names of their strategies.

    Returns:
        The display name, or `None` if nothing has this name or several strategies do.
    """
    if name in strategies:
        return name
    found = [display for display, strategy in strategies.items() if strategy == name]
    return found[0] if len(found) == 1 else None
