"""What an analysis does with a model: the tokens it reads, with and without gradients, and those it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from kdprobe.models.outline.sizes import Sizes
from kdprobe.students.student import UNTRAINED

LOG, KL = 8, 17
"""Vectors as long as the vocabulary that are read or written for the logarithm of a distribution, and for the KL
divergence of two; counted in `kdprobe.probing.drift.divergence`."""
_AT_PEAK = frozenset({"length", "batch", "fixed", "host", "each", "kept"})
"""What does not add up when one piece of work follows another."""


@dataclass(frozen=True)
class Work:
    """The work of an analysis. A pass that skips layers counts by the share of layers that it runs.

    Attributes:
        read: Tokens of forward passes.
        passes: Number of these passes.
        rows: Positions of these passes that go through the output matrix.
        vectors: Vectors as long as the vocabulary that are read or written where whole distributions are compared.
        sloped: Tokens of passes with gradients: one forward and one backward pass each.
        sloped_passes: Number of these passes.
        sloped_rows: Positions of these passes that go through the output matrix.
        answers: Answers that are written.
        new: Tokens of an answer, on average.
        prompt: Tokens of the prompt of an answer, on average.
        merged: Trained students whose adapters are merged, one after the other.
        bridged: Students that are checked in TransformerLens.
        length: Tokens of a text.
        batch: Texts of a pass.
        fixed: Bytes at the peak, besides the weights and a pass.
        host: Likewise, in main memory even if the model is on a GPU.
        each: Further bytes for every text of a pass.
        kept: Bytes for every text of a pass that are kept; a smaller batch is read where memory has no room for them.
    """

    read: float = 0.0
    passes: float = 0.0
    rows: float = 0.0
    vectors: float = 0.0
    sloped: float = 0.0
    sloped_passes: float = 0.0
    sloped_rows: float = 0.0
    answers: float = 0.0
    new: float = 0.0
    prompt: float = 0.0
    merged: int = 0
    bridged: int = 0
    length: float = 0.0
    batch: int = 1
    fixed: float = 0.0
    host: float = 0.0
    each: float = 0.0
    kept: float = 0.0

    def __add__(self, other: Work) -> Work:
        """Both, one after the other."""
        pairs = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(Work)}
        if self.answers and other.answers:
            whole = self.answers + other.answers
            for name in ("new", "prompt"):
                shares = zip((self, other), pairs[name], strict=True)
                pairs[name] = (sum(each.answers * value for each, value in shares) / whole, 0.0)
        return Work(**{name: max(pair) if name in _AT_PEAK else sum(pair) for name, pair in pairs.items()})

    def times(self, count: float) -> Work:
        """The same work several times; students are loaded by each anew."""
        once = _AT_PEAK | {"new", "prompt"}
        values = {field.name: getattr(self, field.name) for field in fields(Work)}
        return Work(**{name: value if name in once else value * count for name, value in values.items()})


@dataclass(frozen=True)
class Subject:
    """What an analysis examines.

    Attributes:
        options: Its options.
        arms: Name, arm and seed of every student.
        problems: Number of problems that it may read.
        batch: The size of batches.
        sizes: The model's sizes.
        prompt: Mean tokens of a problem's prompt.
        solution: Mean tokens of its gold solution.
        longest: Tokens of the longest problem with its solution.
        answer: Mean tokens of a student's answer.
        width: Bytes of a number.
        changes_mlps: Whether training changes MLPs, and not only attention.
        primed: Mean tokens of the teacher's prompt under each strategy, `None` if it is the bare question; only for
            analyses of the teacher.
        taught: Mean tokens of the teacher's answer.
    """

    options: Mapping[str, Any]
    arms: Sequence[Sequence[Any]]
    problems: int
    batch: int
    sizes: Sizes
    prompt: float
    solution: float
    longest: float
    answer: float
    width: int = 4
    changes_mlps: bool = False
    primed: Sequence[float | None] = ()
    taught: float = 0.0

    @property
    def length(self) -> float:
        """Mean tokens of a problem with its gold solution."""
        return self.prompt + self.solution

    @property
    def used(self) -> int:
        """Number of problems that are read, which options may limit."""
        return min(self.problems, int(self.options.get("problems", self.problems)))

    @property
    def chosen(self) -> list[str]:
        """Names of the students to examine, which options may name, also by their arm."""
        named = self.options.get("students")
        return [name for name, arm, _ in self.arms if not named or name in named or arm in named]

    @property
    def trained(self) -> list[str]:
        """Those that were trained."""
        return [name for name in self.chosen if name != UNTRAINED]

    @property
    def others(self) -> list[str]:
        """Those that are not the first student."""
        return [name for name in self.chosen if name != self.arms[0][0]]

    @property
    def pattern(self) -> float:
        """Bytes of the attention patterns of the longest text in one layer."""
        return self.sizes.heads * self.longest**2 * 4

    @property
    def patterns(self) -> float:
        """Bytes of its patterns in all layers."""
        return self.sizes.layers * self.pattern

    @property
    def projections(self) -> float:
        """Parameters of the attention projections of all layers."""
        sizes = self.sizes
        return 2 * sizes.layers * sizes.hidden * sizes.head_dim * (sizes.heads + sizes.kv_heads)

    @property
    def copies(self) -> float:
        """Bytes of a merged student's own projections."""
        return self.projections * self.width

    @property
    def outputs(self) -> float:
        """Parameters of the output projections of attention in all layers."""
        sizes = self.sizes
        return float(sizes.layers * sizes.hidden * sizes.head_dim * sizes.heads)

    @property
    def head_outputs(self) -> float:
        """Bytes of the outputs of all heads on all problems that are read."""
        sizes = self.sizes
        return self.used * self.length * sizes.layers * sizes.heads * sizes.head_dim * 4

    def upper(self, count: int = 1) -> float:
        """The mean share of layers from the lowest on, of this many that are drawn at random."""
        layers = self.sizes.layers
        return sum(1 - (below / layers) ** count for below in range(layers)) / layers
