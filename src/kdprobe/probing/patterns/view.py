"""What a head metric looks at: a layer's attention patterns over one batch, and what the batch reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

_CELLS = 2**17
"""Of patterns at once, half a MiB of float32."""


@dataclass(frozen=True)
class PatternView:
    """A layer's attention patterns over one batch.

    Sequences of a batch differ in length, so there is padding on one side. What the pattern holds in rows of padded
    queries means nothing.

    Attributes:
        pattern: Post-softmax attention, `[batch, head, query, key]`, float32; zero on padded keys and later tokens.
        below: The same of the layer below, or `None` in the first layer.
        tokens: Token ids, `[batch, position]`, or `None` for patterns from files.
        valid_queries: Which queries are real tokens, `[batch, query]`, boolean.
        valid_keys: Which keys are, `[batch, key]`, boolean.
        spans: `question`, `numbers` (of the question) and `answer`, each `[batch, position]`, boolean; empty for
            patterns from files.
        layer: Which layer, from 0.
        dumped: The pattern before its rows were divided by their sums, where they were; `below` never is. The
            published similarity is that of patterns as they were dumped.
        sink: What each row of attention leaves to a learned sink, which is no token, `[batch, head, query]`, or `None`.
            Of the rest, `pattern` is the distribution over tokens.
        shared: Kept from the first layer of a batch to the last, for `once`.
        kept: What several metrics of this layer use, for `keep`.
    """

    pattern: Tensor
    below: Tensor | None
    tokens: Tensor | None
    valid_queries: Tensor
    valid_keys: Tensor
    spans: Mapping[str, Tensor]
    layer: int
    dumped: Tensor | None = None
    sink: Tensor | None = None
    shared: dict[str, Any] = field(default_factory=dict, repr=False)
    kept: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once a batch: for what depends on the tokens and not on the layer."""
        if name not in self.shared:
            self.shared[name] = make()
        return self.shared[name]

    def keep(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """What `make` returns, made once for all metrics of this layer."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def mean_over_queries(self, rows: Tensor, queries: Tensor | None = None) -> Tensor:
        """The mean of one number per query row.

        Args:
            rows: `[batch, head, query]`.
            queries: Which rows count, `[batch, query]`; by default the valid ones. Others may hold anything.

        Returns:
            `[batch, head]`, float64, so that long sequences lose nothing; NaN where no row counts.
        """
        counted = self.valid_queries if queries is None else queries & self.valid_queries
        total = torch.where(counted[:, None], rows, 0).sum(dim=-1, dtype=torch.float64)
        return total / counted.sum(dim=-1, keepdim=True)

    @cached_property
    def visible(self) -> Tensor:
        """How many keys each query can see, itself included, `[batch, query]`; at least 1."""
        counted: Tensor = self.once("visible", lambda: self.valid_keys.cumsum(dim=-1).clamp_min(1))
        return counted

    def over_keys(self, reduce: Callable[..., Tensor], *patterns: Tensor) -> Tensor:
        """Reduces keys away, a few matrices at a time: what lies between stays in the processor's cache.

        Args:
            reduce: From matrices `[matrix, query, key]`, one of each pattern, and memory of that shape to write on;
                returns `[matrix, query]`.
            patterns: Of this view's shape.

        Returns:
            `[batch, head, query]`.
        """
        batch, heads, queries, keys = self.pattern.shape
        # On a GPU many small steps would cost more than they spare.
        step = max(1, _CELLS // (queries * keys)) if self.pattern.device.type == "cpu" else batch * heads
        memory = self.once("memory", lambda: self.pattern.new_empty(min(step, batch * heads), queries, keys))
        flat = [pattern.flatten(0, 1) for pattern in patterns]
        rows = self.pattern.new_empty(batch * heads, queries)
        for start in range(0, batch * heads, step):
            matrices = [pattern[start : start + step] for pattern in flat]
            rows[start : start + step] = reduce(*matrices, memory[: len(matrices[0])])
        return rows.view(batch, heads, queries)

    @cached_property
    def row_entropy(self) -> Tensor:
        """Entropy of every query row in nats, `[batch, head, query]`."""
        return self.over_keys(_entropy, self.pattern)

    @cached_property
    def row_squares(self) -> Tensor:
        """Sum of squares of every query row, `[batch, head, query]`."""
        squares: Tensor = self.once(f"squares {self.layer}", lambda: _squares(self._undivided))
        return squares

    @cached_property
    def below_squares(self) -> Tensor:
        """Sum of squares of every query row of the layer below, `[batch, head, query]`; there must be one."""
        below = self._beneath
        squares: Tensor = self.once(f"squares {self.layer - 1}", lambda: _squares(below))
        return squares

    @cached_property
    def row_products(self) -> Tensor:
        """Products of every query row with the layer below's, summed over keys, `[batch, head, query]`."""
        return self.over_keys(_products, self._undivided, self._beneath)

    @property
    def _undivided(self) -> Tensor:
        return self.pattern if self.dumped is None else self.dumped

    @property
    def _beneath(self) -> Tensor:
        if self.below is None:
            raise ValueError("layer 0 has no layer below")
        return self.below


def _entropy(pattern: Tensor, memory: Tensor) -> Tensor:
    # Weights below 1e-30 add nothing; clamped, they keep the logarithm on its fast path. In place of xlogy, which takes
    # four times as long.
    torch.clamp_min(pattern, 1e-30, out=memory)
    return -memory.log_().mul_(pattern).sum(dim=-1)


def _products(pattern: Tensor, below: Tensor, memory: Tensor) -> Tensor:
    return torch.mul(pattern, below, out=memory).sum(dim=-1)


def _squares(pattern: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(pattern, dim=-1)
    return norms.square_()
