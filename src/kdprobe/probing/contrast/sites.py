"""The parts of a student that are patched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdprobe.probing.contrast.pairs import ALL, ANSWER, OPERATORS, PARTS, ContrastPair
from kdprobe.probing.labels import head_label
from kdprobe.probing.outputs.differences.parts import PHRASES

Kind = Literal["residual", "mlp", "head"]
NO_HEAD = -1
"""The `head` of sites that are not heads."""
PART_PHRASES = {
    **PHRASES,
    OPERATORS: "the operators in the steps",
    ANSWER: "the position of the answer",
    ALL: "all positions",
}


@dataclass(frozen=True)
class Site:
    """What is patched together, as one unit.

    Attributes:
        kind: The residual stream that a layer reads, the output of its MLP, or that of one of its heads.
        layer: The layer, from 0.
        head: The head, from 0, or -1.
        part: The part of the text at whose positions it is patched.
    """

    kind: Kind
    layer: int
    head: int
    part: str

    @property
    def what(self) -> str:
        """What is patched, as named in sentences."""
        return {
            "residual": f"the residual stream before layer {self.layer}",
            "mlp": f"the MLP of layer {self.layer}",
            "head": head_label(self.layer, self.head),
        }[self.kind]

    @property
    def label(self) -> str:
        """Its name, as used in sentences."""
        return f"{self.what} at {PART_PHRASES[self.part]}"

    @property
    def by_construction(self) -> bool:
        """Whether patching it turns the run into the counterfactual one, whatever the student computes."""
        return self.kind == "residual" and self.part == ALL

    def fixed_by(self, pairs: Sequence[ContrastPair]) -> bool:
        """Whether patching it does so for these pairs: before the first layer, only tokens that differ matter."""
        covers_all = self.layer == 0 and all(pair.within(self.part)[pair.differing].all() for pair in pairs)
        return self.by_construction or (self.kind == "residual" and covers_all)


def evenly_spaced(total: int, wanted: int | Literal["all"]) -> list[int]:
    """As many layers as wanted, from the first to the last.

    Args:
        total: The number of layers.
        wanted: How many to choose.
    """
    if wanted == "all" or wanted >= total:
        return list(range(total))
    return [int(layer) for layer in np.linspace(0, total - 1, wanted).round()]


def sites_of(
    layers: Sequence[int], parts: Sequence[str], *, mlps: bool, heads: int, heads_by_position: bool
) -> Iterator[Site]:
    """All sites, layer by layer within each kind.

    Args:
        layers: The layers to patch.
        parts: The parts of the text.
        mlps: Whether to patch MLPs.
        heads: The number of heads of a layer to patch; 0 for none.
        heads_by_position: Whether to patch them at every part of the text, and not just at all positions.
    """
    for kind in ("residual", "mlp") if mlps else ("residual",):
        for layer in layers:
            yield from (Site(kind, layer, NO_HEAD, part) for part in (*parts, ALL))
    for layer in layers:
        for head in range(heads):
            for part in (*(parts if heads_by_position else ()), ALL):
                yield Site("head", layer, head, part)


def parts_in(pairs: Sequence[ContrastPair]) -> list[str]:
    """The parts that at least one pair has, in the order of the text."""
    return [part for part in PARTS if any(pair.within(part).any() for pair in pairs)]
