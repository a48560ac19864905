"""The gold value within a gold answer."""

from __future__ import annotations


def gold_text(gold: str) -> str:
    """The value of a gold answer: after `####`, after a last line's `A:`, else all of it."""
    if "####" in gold:
        return gold.rpartition("####")[2].strip()
    last = gold.rstrip().rpartition("\n")[2].strip()
    return (last.removeprefix("A:") if last.startswith("A:") else gold).strip()
