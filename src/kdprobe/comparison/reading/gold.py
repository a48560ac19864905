"""The gold value within a gold answer."""

from __future__ import annotations

from kdprobe.problems.problem import GOLD_MARK, stated_value


def gold_text(gold: str) -> str:
    """The value of a gold answer: after `####`, after a last line's `A:`, else all of it."""
    if GOLD_MARK in gold:
        return stated_value(gold)
    last = gold.rstrip().rpartition("\n")[2].strip()
    return (last.removeprefix("A:") if last.startswith("A:") else gold).strip()
