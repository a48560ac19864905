"""Students side by side on identical tokens: how far their patterns diverge, batch by batch.

The patterns of one batch are kept until its last student has been read, so memory does not grow with problems or
students.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.console import Progress
from kdprobe.evaluation.batch_size import SHARE, free_bytes
from kdprobe.models.batching import batches
from kdprobe.probing.patterns.stream import read
from kdprobe.students.replicates import by_arm

if TYPE_CHECKING:
    from kdprobe.probing.patterns.files import PatternFile
    from kdprobe.students.bridges import Bridges
    from kdprobe.students.sequence import ProblemSequence
    from kdprobe.students.student import Student

Array = NDArray[np.float64]
_KEPT = 3
"""Tensors as large as a sequence's patterns that are kept: the first student's, an arm's first one's, and a sum."""


@dataclass(frozen=True)
class Divergences:
    """How far patterns diverge.

    Attributes:
        variance: Population variance over all students, mean over the S x S cells, `[problem, layer, head]`.
        jensen_shannon: For each pair of students, the divergence, mean over query rows, in nats, of the same shape.
            Pairs are every student with the first and, in arms with several seeds, every later seed with the arm's
            first.
        sinks: For each student, the share of its attention that goes to learned sinks, which are not compared.
    """

    variance: Array
    jensen_shannon: dict[tuple[str, str], Array]
    sinks: dict[str, float] = field(default_factory=dict)


@dataclass
class _Moments:
    """The variance of one sequence and layer over students, from the small differences from the first student.

    Attributes:
        first: The first student's pattern, `[head, query, key]`.
        total: Sum of the differences, of the same shape, or `None` before the second student.
        squares: Sum of their squares over cells, `[head]`.
    """

    first: Tensor
    total: Tensor | None = None
    squares: Tensor | float = 0.0

    def add(self, pattern: Tensor) -> None:
        difference = pattern - self.first
        self.squares = self.squares + difference.square().sum(dim=(-2, -1)).double()
        self.total = difference if self.total is None else self.total.add_(difference)

    def variance(self, students: int) -> Tensor:
        """Population variance, mean over cells, `[head]`."""
        if self.total is None:
            return torch.zeros(len(self.first))
        cells = self.first.shape[-1] ** 2
        mean_square = self.total.square().sum(dim=(-2, -1)).double() / students**2
        # Rounding may make the difference of the two slightly negative.
        return ((self.squares / students - mean_square) / cells).clamp_min(0)


class _Batch:
    """The state of one batch, by row and layer.

    Args:
        first: The first student, with which all are compared.
        indices: The index of the sequence in each row.
        divergences: For each pair of students, the divergence, `[problem, layer, head]`; the batch's part is filled in.
    """

    def __init__(self, first: str, indices: Sequence[int], divergences: dict[tuple[str, str], Array]) -> None:
        self._first, self._indices, self._divergences = first, indices, divergences
        self.moments: dict[tuple[int, int], _Moments] = {}
        self._anchor: dict[tuple[int, int], Tensor] = {}

    def visitor(self, name: str, members: Sequence[str]) -> Callable[[int, int, Tensor], None]:
        """Adds one student; `members` are the seeds of its arm, which are read one after the other."""
        pairs = _pairs(name, self._first, members)
        anchors = len(members) > 1 and name == members[0]

        def visit(row: int, layer: int, pattern: Tensor) -> None:
            key = (row, layer)
            if name == self._first:
                self.moments[key] = _Moments(pattern.clone())
            else:
                self.moments[key].add(pattern)
            for pair in pairs:
                other = self.moments[key].first if pair[1] == self._first else self._anchor[key]
                divergence = jensen_shannon(pattern, other).double().cpu().numpy()
                self._divergences[pair][self._indices[row], layer] = divergence
            if anchors:
                self._anchor[key] = pattern.clone()

        return visit


def students_side_by_side(
    bridges: Bridges,
    students: Sequence[Student],
    sequences: Sequence[ProblemSequence],
    *,
    batch_size: int,
    bar: Progress,
) -> Divergences:
    """Compares students by reading every batch with each of them.

    Args:
        bridges: The students in TransformerLens; adapters of one base are switched.
        students: The students; all are compared with the first.
        sequences: The sequences that they read.
        batch_size: Sequences per batch, if as much memory is free: patterns of all layers are kept of one batch.
        bar: Advanced by one per sequence.
    """
    names = [student.name for student in students]
    grouped = by_arm(students)
    config = bridges.boot(names[0]).bridge.cfg
    shape = (len(sequences), config.n_layers, config.n_heads)
    variance = np.zeros(shape)
    pairs = [pair for members in grouped.values() for name in members for pair in _pairs(name, names[0], members)]
    divergences = {pair: np.zeros(shape) for pair in pairs}
    shares: dict[str, list[float]] = {name: [] for name in names}
    prefixes = {name: bridges.boot(name).prefix([sequence.ids for sequence in sequences]) for name in names}
    lengths = [len(sequence.ids) for sequence in sequences]
    for indices in batches(lengths, _fitting(batch_size, max(lengths), config)):
        ids = [sequences[index].ids for index in indices]
        batch = _Batch(names[0], indices, divergences)
        for members in grouped.values():
            for name in members:
                shares[name] += read(bridges.boot(name), ids, batch.visitor(name, members), prefix=prefixes[name])
        for (row, layer), moments in batch.moments.items():
            variance[indices[row], layer] = moments.variance(len(names)).cpu().numpy()
        bar.advance(len(indices), work=len(names) * sum(map(len, ids)))
    return Divergences(variance, divergences, {name: float(np.mean(found)) for name, found in shares.items()})


def _fitting(batch_size: int, longest: int, config: Any) -> int:
    """Sequences whose patterns fit into free memory, at least one and at most `batch_size`."""
    needed = _KEPT * config.n_layers * config.n_heads * longest**2 * torch.float32.itemsize
    return max(1, min(batch_size, int(free_bytes(torch.device(config.device)) * SHARE / needed)))


def files_side_by_side(files: Sequence[PatternFile]) -> Divergences:
    """Compares patterns from files with the same layers, heads and prompts.

    The variance is that of the patterns as dumped; for the divergence, rows are divided by their sums.
    """
    first, *others = files
    shape = (len(first.prompts), *first.heads)
    variance = np.zeros(shape)
    divergences = {(other.name, first.name): np.zeros(shape) for other in others}
    for prompt, layer in np.ndindex(*shape[:2]):
        first_pattern = torch.from_numpy(first.prompts[prompt].pattern[layer])
        moments = _Moments(first_pattern)
        for other in others:
            pattern = torch.from_numpy(other.prompts[prompt].pattern[layer])
            moments.add(pattern)
            p, q = (weights / weights.sum(dim=-1, keepdim=True) for weights in (pattern, first_pattern))
            divergences[other.name, first.name][prompt, layer] = jensen_shannon(p, q).double().numpy()
        variance[prompt, layer] = moments.variance(len(files)).numpy()
    return Divergences(variance, divergences)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Mean over query rows of the Jensen-Shannon divergence in nats, between 0 and log 2; `[head]`.

    Args:
        p: `[head, query, key]`; each row sums to one.
        q: Likewise.
    """
    return jensen_shannon_rows(p, q).mean(dim=-1).clamp_min(0)


def jensen_shannon_rows(p: Tensor, q: Tensor) -> Tensor:
    """The divergence of each query row, `[head, query]`, up to rounding errors; arguments as for `jensen_shannon`.

    With m the mean of both and d = (p - q) / (p + q), it is half the sum of m ((1 + d) log(1 + d) +
    (1 - d) log(1 - d)), which is accurate even if p and q are close.
    """
    total = p + q
    share = (p - q) / total.clamp_min(1e-30)
    terms = torch.special.xlog1py(1 + share, share) + torch.special.xlog1py(1 - share, -share)
    rows: Tensor = terms.mul_(total).sum(dim=-1) / 4
    return rows


def _pairs(name: str, first: str, members: Sequence[str]) -> list[tuple[str, str]]:
    """The students that a student is compared with: the first of all, and the first seed of its arm."""
    others = dict.fromkeys([first, members[0]])
    return [(name, other) for other in others if other != name]
