"""Reads a text with a model, and keeps what its output layer reads instead of the logits.

Each text is read in a pass of its own, so that no number depends on padding or on the other texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kdprobe.errors import KdprobeError, NonFiniteError
from kdprobe.models.lm_head import CHUNK_BYTES, lm_head_replaced
from kdprobe.models.load import LoadedModel
from kdprobe.probing.outputs.unembedding import Unembedding, unembedding

_TOLERANCE = {torch.float32: 1e-4}
_COARSE = 3e-2
"""Largest error of the logits relative to the largest of them; coarse for data types with few digits."""


@dataclass(frozen=True)
class Reading:
    """A model whose output layer is detached, so that no `[token, V]` tensor exists.

    Attributes:
        name: Its name, for errors.
        loaded: The model.
        output: The map from states to logits.
        kept: States by text, for models that are compared with several others; `None` keeps none.
    """

    name: str
    loaded: LoadedModel
    output: Unembedding
    kept: dict[tuple[int, ...], Tensor] | None = field(default=None, repr=False)

    @property
    def vocabulary(self) -> int:
        """The number of token ids that have logits."""
        return len(self.output.weight)

    def states(self, ids: tuple[int, ...]) -> Tensor:
        """What the output layer reads to predict each token but the first, `[token, d_model]`.

        Raises:
            NonFiniteError: A state is NaN or infinite.
        """
        if self.kept is None:
            return self._read(ids)
        if ids not in self.kept:
            self.kept[ids] = self._read(ids)
        return self.kept[ids]

    def logits(self, states: Tensor) -> Iterator[Tensor]:
        """Logits `[rows, V]`, float32, a few rows at a time."""
        for rows in self.chunks(len(states)):
            yield self.output.logits(states[rows])

    def chunks(self, count: int) -> Iterator[slice]:
        """The rows that have logits at the same time, out of `count`."""
        size = max(1, CHUNK_BYTES // (4 * self.vocabulary))
        for start in range(0, count, size):
            yield slice(start, start + size)

    def _read(self, ids: Sequence[int]) -> Tensor:
        states = _states(self.loaded, ids)[:-1]
        if not states.isfinite().all():
            raise NonFiniteError(f"The last hidden states of {self.name!r} are NaN or infinite.")
        return states


@contextmanager
def reading(name: str, loaded: LoadedModel, *, keeps: bool = False) -> Iterator[Reading]:
    """A model as it is read for output differences.

    Args:
        name: Its name, for errors.
        loaded: The model.
        keeps: Whether to keep the states of each text for the next comparison.

    Raises:
        KdprobeError: Its logits do not follow from the states that its output layer reads.
    """
    output = unembedding(loaded.model, len(loaded.tokenizer))
    sample = list(range(8))
    with torch.inference_mode():
        expected = loaded.model(input_ids=torch.tensor([sample], device=loaded.device), use_cache=False).logits[0]
    with lm_head_replaced(loaded.model):
        with torch.inference_mode():
            found = output.logits(_states(loaded, sample))
        expected = expected[:, : found.shape[-1]].float()
        allowed = _TOLERANCE.get(loaded.model.dtype, _COARSE) * float(expected.abs().max())
        if not float((found - expected).abs().max()) <= allowed:
            raise _unknown(loaded)
        yield Reading(name, loaded, output, {} if keeps else None)


def _states(loaded: LoadedModel, ids: Sequence[int]) -> Tensor:
    """What the output layer, replaced by an identity, reads at each position, `[position, d_model]`."""
    read: list[Tensor] = []
    lm_head = loaded.model.get_output_embeddings()
    handle = lm_head.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0]))
    tokens = torch.tensor([list(ids)], device=loaded.device)
    try:
        loaded.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    finally:
        handle.remove()
    if not read:
        raise _unknown(loaded)
    # Back from the last of the devices over which a model may be spread.
    return read[0][0].to(tokens.device)


def _unknown(loaded: LoadedModel) -> KdprobeError:
    kind = loaded.model.config.model_type
    return KdprobeError(
        f"kdprobe cannot compute the logits of this architecture ({kind}) from its last hidden states.",
        "Remove the analysis, or leave models of this architecture out.",
    )
