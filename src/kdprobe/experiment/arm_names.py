"""What a run calls its arms, and how configs and commands may name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

BARE = "none"
"""The built-in strategy that puts the bare question to the teacher."""
UNPRIMED = "unprimed"
"""What a run calls that strategy where it has no label."""


def display_name(strategy: str, label: str | None) -> str:
    """What a run calls a strategy: its label, else `unprimed` for the strategy `none`, else its name."""
    return label or (UNPRIMED if strategy == BARE else strategy)


def student_name(arm: str, seed: int, seeds: Sequence[int]) -> str:
    """What a run calls a student of an arm; the name says the seed where there are several."""
    return arm if len(seeds) == 1 else f"{arm}@{seed}"


def resolved(name: str, strategies: Mapping[str, str]) -> str | None:
    """Which display name is meant: the name itself, else that of the only strategy with this name.

    Args:
        name: A display name, or the name of a strategy.
        strategies: Display names to the names of their strategies.

    Returns:
        The display name, or `None` where nothing is called so, or several strategies are.
    """
    if name in strategies:
        return name
    found = [display for display, strategy in strategies.items() if strategy == name]
    return found[0] if len(found) == 1 else None
