"""Divides what training changed into circuits, and the rest.

A student is its base plus an update. The weights of Q and O are divided by query head, those of K and V by key-value
head; an MLP is all matrices of its layer's MLP, experts included. Everything else that training changed is the rest:
norms, biases, embeddings, the output layer, and what attention has besides its four projections. So the circuits and
the rest are always the whole update.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdprobe.errors import KdprobeError
from kdprobe.models.anatomy import anatomy
from kdprobe.probing.circuits.labels import ATTENTION, Circuit
from kdprobe.probing.interventions.forward import InMemory
from kdprobe.probing.weights.projections import Projection, layer_projections

_MLP = re.compile(r"mlp|ffn|feed_forward|moe|experts|router|^fc\d")
"""Names of the parts of a layer that make up its MLP."""
WeightName = tuple[str, str]
"""The name of a module and that of one of its weights."""


@dataclass(frozen=True)
class Piece:
    """A weight that training changed, or a part of one.

    Attributes:
        weight_name: Its name, in the base as in the student.
        dim: The dimension of the stored weight along which `index` selects.
        index: The rows or columns, or `None` for the whole weight.
    """

    weight_name: WeightName
    dim: int = 0
    index: Tensor | None = None


@dataclass(frozen=True)
class Division:
    """A base and a student of it, and what training changed, by circuit.

    Attributes:
        base: The base.
        student: The student.
        circuits: All circuits of the architecture, layer by layer, each with those of its pieces that training changed,
            if any.
        rest: What training changed outside the circuits.
        rest_kinds: What these are, in words.
    """

    base: InMemory
    student: InMemory
    circuits: dict[Circuit, list[Piece]]
    rest: list[Piece]
    rest_kinds: list[str]

    @property
    def changed(self) -> list[Circuit]:
        """The circuits that training changed."""
        return [circuit for circuit, pieces in self.circuits.items() if pieces]

    @property
    def layers(self) -> int:
        """The number of layers."""
        return 1 + max(circuit.layer for circuit in self.circuits)

    @property
    def has_rest(self) -> bool:
        """Whether training changed anything outside the circuits; new tokens count too."""
        return bool(self.rest) or len(self.base.tokenizer) != len(self.student.tokenizer)

    @property
    def same(self) -> bool:
        """Whether the student equals its base."""
        return not self.changed and not self.has_rest


def divided(base: InMemory, student: InMemory) -> Division:
    """Compares a student with its base, weight by weight.

    Args:
        base: The model before training.
        student: The model after training: with an adapter merged, or trained as a whole. They may share weights.

    Raises:
        KdprobeError: The two have different modules or attention weights of different shapes, or the architecture's
            attention weights cannot be divided into heads or layers.
    """
    before, after = (dict(_weights(each.model)) for each in (base, student))
    _refuse_other_modules(base.model, student.model)
    changed = {name for name in before | after if not _equal(before.get(name), after.get(name))}
    circuits: dict[Circuit, list[Piece]] = {}
    taken: dict[WeightName, list[Piece]] = {}
    parts = anatomy(base.model)
    owners = {id(module): name for name, module in base.model.named_modules()}
    theirs = list(layer_projections(student.model))
    for layer, projections in enumerate(layer_projections(base.model)):
        _refuse_other_heads(projections, theirs[layer])
        for kind in ATTENTION:
            name = (owners[id(projections[kind].module)], "weight")
            for head, piece in enumerate(_by_head(name, projections[kind])):
                is_changed = name in changed and not _same_part(piece, before, after)
                circuits[Circuit(kind, layer, head)] = [piece] if is_changed else []
                taken.setdefault(name, []).append(piece)
        matrices = [name for name in _mlp_matrices(parts.layers[layer], owners) if name in changed]
        circuits[Circuit("mlp", layer)] = [Piece(name) for name in matrices]
        taken |= {name: [Piece(name)] for name in matrices}
    _refuse_shared(taken.keys() & changed, before, after)
    rest = [piece for name in before | after if name in changed for piece in _left(name, before, taken)]
    rest = [piece for piece in rest if piece.index is None or not _same_part(piece, before, after)]
    added = ["the vocabulary"] if len(base.tokenizer) != len(student.tokenizer) else []
    return Division(base, student, circuits, rest, [*_kinds(rest, base.model), *added])


def store(module: nn.Module, name: str) -> dict[str, Any]:
    """The dictionary in which a module keeps a weight."""
    # torch offers no other way to exchange weights.
    return module._buffers if name in module._buffers else module._parameters  # noqa: SLF001


def _weights(model: nn.Module) -> Iterator[tuple[WeightName, Tensor]]:
    """All weights: parameters, and buffers that are saved with the model."""
    for name, module in model.named_modules():
        saved = {key for key in module._buffers if key not in module._non_persistent_buffers_set}  # noqa: SLF001
        for key, weight in [*module._parameters.items(), *module._buffers.items()]:  # noqa: SLF001
            if weight is not None and (key in saved or key in module._parameters):  # noqa: SLF001
                yield (name, key), weight.detach()


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and (one.data_ptr() == other.data_ptr() or torch.equal(one, other))


def _same_part(piece: Piece, before: dict[WeightName, Tensor], after: dict[WeightName, Tensor]) -> bool:
    return _equal(_part(before[piece.weight_name], piece), _part(after[piece.weight_name], piece))


def _part(weight: Tensor, piece: Piece) -> Tensor:
    return weight if piece.index is None else weight.index_select(piece.dim, piece.index)


def _by_head(name: WeightName, projection: Projection) -> Iterator[Piece]:
    """A projection's rows, or columns, by head; query heads that share keys and values share their rows."""
    stores_in_out = not isinstance(projection.module, nn.Linear)
    dim = 1 if projection.is_output != stores_in_out else 0
    for rows in torch.unique(projection.rows, dim=0):
        yield Piece(name, dim, rows)


def _mlp_matrices(layer: nn.Module, owners: dict[int, str]) -> Iterator[WeightName]:
    for name, child in layer.named_children():
        if _MLP.search(name) and "norm" not in name:
            for module in child.modules():
                for key, weight in module._parameters.items():  # noqa: SLF001
                    if weight is not None and weight.dim() > 1 and not key.endswith("bias"):
                        yield owners[id(module)], key


def _left(name: WeightName, before: dict[WeightName, Tensor], taken: dict[WeightName, list[Piece]]) -> Iterator[Piece]:
    """What of a changed weight belongs to no circuit."""
    pieces = taken.get(name)
    if pieces is None:
        yield Piece(name)
        return
    (dim,) = {piece.dim for piece in pieces}
    taken_rows = [piece.index for piece in pieces if piece.index is not None]
    if len(taken_rows) < len(pieces):
        return
    free = torch.ones(before[name].shape[dim], dtype=torch.bool)
    for rows in taken_rows:
        free[rows.cpu()] = False
    if free.any():
        yield Piece(name, dim, free.nonzero()[:, 0].to(before[name].device))


def _kinds(rest: Sequence[Piece], model: Any) -> list[str]:
    """What the rest is made of, in words."""
    names = {id(model.get_input_embeddings()): "embeddings", id(model.get_output_embeddings()): "output layer"}
    found = []
    for piece in rest:
        name, key = piece.weight_name
        last = name.rpartition(".")[2]
        if (kind := names.get(id(model.get_submodule(name)))) is None:
            is_norm = "norm" in last or last.startswith("ln")
            kind = "norms" if is_norm else "biases" if key.endswith("bias") else last if key == "weight" else key
        found.append(f"the {kind}")
    return list(dict.fromkeys(found))


def _refuse_other_modules(base: nn.Module, student: nn.Module) -> None:
    names, theirs = (dict(model.named_modules()) for model in (base, student))
    if other := sorted(names.keys() ^ theirs.keys()):
        raise KdprobeError(
            f"The student and its base have different modules, such as {other[0]!r}.",
            "Their weights can only be exchanged between models of the same architecture; use the base that the "
            "student was trained from.",
        )


def _refuse_other_heads(projections: dict[str, Projection], theirs: dict[str, Projection]) -> None:
    if any(not torch.equal(projections[kind].rows, theirs[kind].rows) for kind in projections):
        raise KdprobeError(
            "The attention weights of the student and its base differ in shape.",
            "Use the base that the student was trained from.",
        )


def _refuse_shared(names: set[WeightName], before: dict[WeightName, Tensor], after: dict[WeightName, Tensor]) -> None:
    """Refuses weights of circuits that something else uses too, so that they cannot be switched alone."""
    for weights in (before, after):
        used: dict[int, WeightName] = {}
        for name, weight in weights.items():
            first = used.setdefault(weight.data_ptr(), name) if weight.numel() else name
            if first != name and names & {first, name}:
                raise KdprobeError(
                    f"The weights of {'.'.join(first)} and {'.'.join(name)} are shared, so the update of one "
                    "circuit cannot be switched on or off without the other's.",
                    "Remove the analysis: it needs layers that do not share weights.",
                )
