"""The groups of circuits that are switched together: by kind, by layer, and all that training changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdprobe.probing.circuits.division import Division
from kdprobe.probing.circuits.effects import Update, everything
from kdprobe.probing.circuits.labels import ATTENTION, KINDS

EVERYTHING = "everything"
ATTENTIONS, MLPS, REST = "attention", "mlp", "rest"


@dataclass(frozen=True)
class Group:
    """A part of the update.

    Attributes:
        name: `q`, `k`, `v`, `o`, `attention` (these four), `mlp`, `rest` or `everything`.
        update: What it is made of; nothing, if training did not change it.
        layer: The layer that it is limited to; `None` for all layers.
    """

    name: str
    update: Update
    layer: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether training changed nothing in it."""
        return not self.update.circuits and not self.update.rest

    @property
    def label(self) -> str:
        """As in sentences and figures."""
        if self.layer is not None:
            return f"{'MLP' if self.name == MLPS else self.name} of layer {self.layer}"
        labels = {ATTENTIONS: "all attention", REST: "the rest", EVERYTHING: EVERYTHING}
        labels |= {kind: f"all {name}s" if kind == MLPS else f"all {name}" for kind, name in KINDS.items()}
        return labels[self.name]


def groups_of(division: Division, *, by_layer: bool) -> list[Group]:
    """All groups, the largest last; those of layers first by layer.

    Args:
        division: What training changed.
        by_layer: Whether each layer's attention and MLP are groups too.
    """
    return [*(_by_layer(division) if by_layer else ()), *_by_kind(division)]


def _by_kind(division: Division) -> Iterator[Group]:
    changed = division.changed
    for kind in KINDS:
        yield Group(kind, Update([circuit for circuit in changed if circuit.kind == kind]))
    yield Group(ATTENTIONS, Update([circuit for circuit in changed if circuit.kind in ATTENTION]))
    yield Group(REST, Update(rest=division.has_rest))
    yield Group(EVERYTHING, everything(division))


def _by_layer(division: Division) -> Iterator[Group]:
    for layer in range(division.layers):
        changed = [circuit for circuit in division.changed if circuit.layer == layer]
        yield Group(ATTENTIONS, Update([circuit for circuit in changed if circuit.kind in ATTENTION]), layer)
        yield Group(MLPS, Update([circuit for circuit in changed if circuit.kind == "mlp"]), layer)
