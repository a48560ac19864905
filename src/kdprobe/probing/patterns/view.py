"""The input of a head metric: a layer's attention patterns over one batch, and the batch's tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

_CELLS = 2**17
"""Number of pattern cells processed at once: half a MiB of float32."""


@dataclass(frozen=True)
class PatternView:
    """A layer's attention patterns over one batch.

    Sequences of a batch differ in length, so there is padding on one side. Rows of padded queries are meaningless.

    Attributes:
        pattern: Post-softmax attention, `[batch, head, query, key]`, float32; zero on padded keys and later tokens.
        below: The pattern of the layer below, or `None` in the first layer.
        tokens: Token ids, `[batch, position]`, or `None` for patterns from files.
        valid_queries: Whether each query is a real token, `[batch, query]`, boolean.
        valid_keys: Whether each key is, `[batch, key]`, boolean.
        spans: `question`, `numbers` (of the question) and `answer`, each `[batch, position]`, boolean; empty for
            patterns from files.
        layer: The layer's index, from 0.
        dumped: The pattern before its rows were divided by their sums, if they were; `below` is never divided. The
            published similarity uses the patterns as dumped.
        sink: The attention that each row gives to a learned sink, which is not a token, `[batch, head, query]`, or
            `None`. `pattern` is the distribution of the rest over tokens.
        shared: Values cached for a whole batch by `once`.
        kept: Values cached for this layer by `keep`.
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
        """Returns the result of `make`, called once per batch: for values that depend on tokens, not on the layer."""
        if name not in self.shared:
            self.shared[name] = make()
        return self.shared[name]

    def keep(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """Returns the result of `make`, called once for all metrics of this layer."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def mean_over_queries(self, rows: Tensor, queries: Tensor | None = None) -> Tensor:
        """Returns the mean over query rows.

        Args:
            rows: `[batch, head, query]`.
            queries: The rows to average, `[batch, query]`; by default the valid ones. Others may contain anything.

        Returns:
            Means `[batch, head]`, in float64, so that long sequences lose no precision; NaN if there are no rows.
        """
        counted = self.valid_queries if queries is None else queries & self.valid_queries
        total = torch.where(counted[:, None], rows, 0).sum(dim=-1, dtype=torch.float64)
        return total / counted.sum(dim=-1, keepdim=True)

    @cached_property
    def visible(self) -> Tensor:
        """Number of keys that each query can see, including itself, `[batch, query]`; at least 1."""
        counted: Tensor = self.once("visible", lambda: self.valid_keys.cumsum(dim=-1).clamp_min(1))
        return counted

    def over_keys(self, reduce: Callable[..., Tensor], *patterns: Tensor) -> Tensor:
        """Reduces over keys, a few matrices at a time, so that intermediate results stay in the processor's cache.

        Args:
            reduce: Takes matrices `[matrix, query, key]`, one from each pattern, and a buffer of that shape, and
                returns `[matrix, query]`.
            patterns: Patterns with this view's shape.

        Returns:
            `[batch, head, query]`.
        """
        batch, heads, queries, keys = self.pattern.shape
        # On a GPU, many small steps would cost more than they save.
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
        """Sum of squares of every query row of the layer below, which must exist, `[batch, head, query]`."""
        below = self._beneath
        squares: Tensor = self.once(f"squares {self.layer - 1}", lambda: _squares(below))
        return squares

    @cached_property
    def row_products(self) -> Tensor:
        """Dot product of every query row with that of the layer below, `[batch, head, query]`."""
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
    # Weights below 1e-30 add nothing; clamping keeps the logarithm on its fast path. xlogy would take four times as
    # long.
    torch.clamp_min(pattern, 1e-30, out=memory)
    return -memory.log_().mul_(pattern).sum(dim=-1)


def _products(pattern: Tensor, below: Tensor, memory: Tensor) -> Tensor:
    return torch.mul(pattern, below, out=memory).sum(dim=-1)


def _squares(pattern: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(pattern, dim=-1)
    return norms.square_()
