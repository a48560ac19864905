"""The circuits whose updates can be switched, and their names in tables and sentences."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["q", "k", "v", "o", "mlp"]
KINDS: dict[Kind, str] = {"q": "Q", "k": "K", "v": "V", "o": "O", "mlp": "MLP"}
"""Kinds of circuits and how they are written."""
ATTENTION: tuple[Kind, ...] = ("q", "k", "v", "o")


class Circuit(NamedTuple):
    """Weights that are switched as one.

    Attributes:
        kind: Q and O belong to a query head, K and V to a key-value head, and an MLP to its layer.
        layer: The layer, from 0.
        head: The query head or the key-value head, from 0; 0 for an MLP.
    """

    kind: Kind
    layer: int
    head: int = 0

    @property
    def label(self) -> str:
        """`Q of layer 3, head 5`, `K of layer 3, key-value head 1` or `MLP of layer 3`."""
        if self.kind == "mlp":
            return f"MLP of layer {self.layer}"
        head = "head" if self.kind in {"q", "o"} else "key-value head"
        return f"{KINDS[self.kind]} of layer {self.layer}, {head} {self.head}"
