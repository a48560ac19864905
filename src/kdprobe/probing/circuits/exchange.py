"""Exchanges weights between a base and its student, in place, and puts them back exactly.

While the pieces of a circuit are exchanged, the base has the circuit's update switched on, and the student has it
switched off. Whole weights trade places without being copied. For a part of a weight, one copy is kept, from which it
is restored bit by bit, even after an error or an interrupt. So no further model is needed in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kdprobe.probing.circuits.division import Piece, WeightName, store


@contextmanager
def exchanged(base: nn.Module, student: nn.Module, pieces: Sequence[Piece]) -> Iterator[None]:
    """While the block runs, each of the two models has the other's weights in these pieces.

    Args:
        base: The base.
        student: The student.
        pieces: Parts of weights, which do not overlap.
    """
    undo: list[Callable[[], None]] = []
    try:
        for name, dim, index in _joined(pieces):
            one, other = base.get_submodule(name[0]), student.get_submodule(name[0])
            if index is None or len(index) == store(one, name[1])[name[1]].shape[dim]:
                _trade(one, other, name[1], undo)
            else:
                _trade_parts(one, other, name[1], dim, index, undo)
        yield
    finally:
        _undone(undo)


def _undone(undo: list[Callable[[], None]]) -> None:
    """Puts everything back; an interrupt has to wait, and each step may be repeated."""
    interrupt: KeyboardInterrupt | None = None
    while undo:
        try:
            undo[-1]()
            undo.pop()
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _joined(pieces: Sequence[Piece]) -> Iterator[tuple[WeightName, int, Tensor | None]]:
    """The pieces of each weight in one."""
    by_weight: dict[WeightName, list[Piece]] = {}
    for piece in pieces:
        by_weight.setdefault(piece.weight_name, []).append(piece)
    for name, found in by_weight.items():
        indices = [piece.index for piece in found if piece.index is not None]
        yield name, found[0].dim, torch.cat(indices) if len(indices) == len(found) else None


def _trade(one: nn.Module, other: nn.Module, name: str, undo: list[Callable[[], None]]) -> None:
    """Exchanges whole weights, which may have different shapes; a module may also lack one, such as a bias."""
    first, second = store(one, name), store(other, name)
    own, others = first.get(name), second.get(name)

    def back() -> None:
        first[name], second[name] = own, others

    undo.append(back)
    first[name], second[name] = others, own


@torch.no_grad()
def _trade_parts(  # noqa: PLR0917
    one: nn.Module, other: nn.Module, name: str, dim: int, index: Tensor, undo: list[Callable[[], None]]
) -> None:
    """Exchanges rows or columns of two weights of the same shape."""
    first: Any = store(one, name)[name].detach()
    second: Any = store(other, name)[name].detach()
    kept = first.index_select(dim, index)
    written = False

    @torch.no_grad()
    def back() -> None:
        nonlocal written
        if written:
            # The second's own values are in the first.
            second.index_copy_(dim, index, first.index_select(dim, index))
            written = False
        first.index_copy_(dim, index, kept)

    undo.append(back)
    first.index_copy_(dim, index, second.index_select(dim, index))
    written = True
    second.index_copy_(dim, index, kept)
