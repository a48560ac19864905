"""The names of attention heads in tables and sentences."""

from __future__ import annotations

Head = tuple[int, int]
"""Layer and head, from 0."""


def head_label(layer: int, head: int) -> str:
    """`layer 3, head 5`."""
    return f"layer {layer}, head {head}"
