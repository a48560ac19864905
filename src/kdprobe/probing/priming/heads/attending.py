"""Reads what the teacher's heads attend to while it predicts a response, after several prompts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.errors import KdprobeError, NonFiniteError
from kdprobe.models.anatomy import anatomy
from kdprobe.models.batching import right_padded
from kdprobe.models.chatter import quiet
from kdprobe.models.load import LoadedModel
from kdprobe.models.weights import same_weights
from kdprobe.probing.patterns.pairwise import jensen_shannon_rows
from kdprobe.probing.priming.heads.layout import Layout
from kdprobe.students.pattern_sources import Twins, in_hugging_face

DIVERGENCE, PRIMING, FIRST_TOKEN, LEARNED_SINK = "divergence", "priming", "first_token", "learned_sink"
SHARES = (PRIMING, "question", "response", FIRST_TOKEN, "frame", LEARNED_SINK)
MEASURES = (DIVERGENCE, *SHARES)
_SAMPLE = 64
"""Most tokens of the self-check."""
_TOLERANCE = {torch.float32: 1e-4}
_COARSE = 3e-2
"""Largest error of patterns, and of logits relative to the largest; coarse for data types with few digits."""


@dataclass(frozen=True)
class HeadReader:
    """A teacher whose attention modules return their patterns.

    Attributes:
        loaded: The teacher, with eager attention.
        layers: The number of its layers.
        heads: Heads per layer.
    """

    loaded: LoadedModel
    layers: int
    heads: int

    @property
    def tolerance(self) -> float:
        """The largest rounding error of a pattern."""
        return _TOLERANCE.get(self.loaded.model.dtype, _COARSE)

    def nothing(self, prompts: int) -> NDArray[np.float64]:
        """The attention on no problem after this many prompts, `[0, prompt, measure, layer, head]`."""
        return np.empty((0, prompts, len(MEASURES), self.layers, self.heads))

    @torch.inference_mode()
    def attention(self, layouts: Sequence[Layout], response: Sequence[int], batch_size: int) -> NDArray[np.float64]:
        """What every head attends to after each prompt, `[prompt, measure, layer, head]`, measures as in `MEASURES`.

        Queries are the tokens from which the response is predicted: the last of the prompt and all of the response but
        its last. Each measure is a mean over them. Shares are those of a row's attention; without a question, those of
        the question, the priming and the frame are not known. The divergence is that from the first prompt, between
        rows divided by their sums over the keys that both prompts have in common: those of the question and the
        response.

        Only one layer's patterns are in memory at a time. Prompts with the same tokens are read once.

        Args:
            layouts: The prompts; the first is the one that the others are compared with.
            response: Token ids of the response, at least one.
            batch_size: Prompts per pass; the first is read in each.

        Raises:
            NonFiniteError: Attention is NaN or infinite.
        """
        first = layouts[0]
        others = list(dict.fromkeys(layout for layout in layouts if layout.ids != first.ids))
        size = max(1, batch_size - 1)
        found: dict[tuple[int, ...], NDArray[np.float64]] = {}
        for start in range(0, max(1, len(others)), size):
            batch = [first, *others[start : start + size]]
            found |= zip((layout.ids for layout in batch), self._read(batch, response), strict=True)
        return np.stack([found[layout.ids] for layout in layouts])

    def _read(self, batch: Sequence[Layout], response: Sequence[int]) -> NDArray[np.float64]:
        texts = [(*layout.ids, *response[:-1]) for layout in batch]
        ids, mask = right_padded(texts, self.loaded.tokenizer.pad_token_id, self.loaded.device)
        values = np.full((len(batch), len(MEASURES), self.layers, self.heads), np.nan)
        positions = [_Positions.of(layout, len(response), ids.shape[1]) for layout in batch]

        def reduce(layer: int, pattern: Tensor) -> None:
            common: list[Tensor] = []
            for row, known in enumerate(positions):
                rows = pattern[row, :, known.queries].float()
                if not rows.isfinite().all():
                    raise NonFiniteError("The teacher's attention is NaN or infinite.")
                common.append(rows[..., known.common])
                values[row, 0, layer] = _divergence(common[row], common[0])
                values[row, 1:, layer] = _shares(rows, known.classes, self.tolerance)

        in_hugging_face(Twins(self.loaded.model, None), ids, mask, reduce)
        unknown = [MEASURES.index(measure) for measure in (PRIMING, "question", "frame")]
        for row, layout in enumerate(batch):
            if not layout.question:
                values[row, unknown] = np.nan
        return values


@dataclass(frozen=True)
class _Positions:
    """Where queries and keys of one text are, in main memory: layers may be on several devices.

    Attributes:
        queries: The rows.
        common: Positions of the keys that all prompts share, in the same order.
        classes: 1 for the keys of each class, `[class, key]`, in the order of `SHARES` without learned sinks.
    """

    queries: slice
    common: Tensor
    classes: Tensor

    @classmethod
    def of(cls, layout: Layout, response: int, width: int) -> _Positions:
        length = len(layout.ids)
        classes = {
            PRIMING: layout.priming,
            "question": layout.question,
            "response": range(length, length + response - 1),
            FIRST_TOKEN: range(1),
        }
        known = {position for positions in classes.values() for position in positions}
        classes["frame"] = [position for position in range(length) if position not in known]
        masks = torch.zeros(len(classes), width)
        for index, positions in enumerate(classes.values()):
            masks[index, list(positions)] = 1
        common = torch.tensor([*classes["question"], *classes["response"]], dtype=torch.long)
        return cls(slice(length - 1, length + response - 1), common, masks)


def head_reader(loaded: LoadedModel, text: Sequence[int]) -> HeadReader:
    """A loaded teacher, with its own weights and eager attention; the given model is not changed.

    Args:
        loaded: The teacher.
        text: Token ids of a text such as it will read, for a check of what is read. Ids that never occur in training,
            such as unused special tokens, can magnify rounding a hundredfold.

    Raises:
        KdprobeError: Its architecture has no attention heads in every layer, does not show their patterns, or computes
            something else with eager attention.
    """
    model = same_weights(loaded.model)
    with quiet():
        model.set_attn_implementation("eager")
    eager = LoadedModel(model, loaded.tokenizer, loaded.record, loaded.dtype, loaded.end_ids)
    reader = HeadReader(eager, len(anatomy(model)), anatomy(model).heads)
    _check(reader, loaded.model, text[:_SAMPLE])
    return reader


@torch.inference_mode()
def _check(reader: HeadReader, original: Any, text: Sequence[int]) -> None:
    """Compares eager with the teacher's own attention, and the patterns that are read with those it reports."""
    loaded, tolerance = reader.loaded, reader.tolerance
    ids = torch.tensor([[*text]], device=loaded.device)
    mask = torch.ones_like(ids)
    expected = original(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
    output = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False, output_attentions=True)
    reported = [each for each in getattr(output, "attentions", None) or () if isinstance(each, Tensor)]
    seen: list[float] = []
    if len(reported) == reader.layers:
        in_hugging_face(
            Twins(loaded.model, None),
            ids,
            mask,
            lambda layer, pattern: seen.append(float((pattern - reported[layer]).abs().max())),
        )
    # Comparisons with NaN are false.
    if not (len(seen) == reader.layers and np.max(seen) <= tolerance):
        raise KdprobeError(
            f"The attention patterns of this architecture ({loaded.model.config.model_type}) cannot be read.",
            "Remove the analysis, or use a teacher of another architecture.",
        )
    difference, largest = float((output.logits.float() - expected).abs().max()), float(expected.abs().max())
    if not difference <= tolerance * largest:
        raise KdprobeError(
            f"With eager attention, which shows its patterns, the teacher's logits (up to {largest:.2g}) change by "
            f"up to {difference:.2g}, so the patterns would not be its own.",
            "Remove the analysis, or use another teacher.",
        )


def _divergence(rows: Tensor, others: Tensor) -> NDArray[np.float64]:
    """Mean over queries of the divergence over common keys, `[head]`; NaN if no query sees one after both prompts.

    Args:
        rows: Attention on the common keys, `[head, query, key]`.
        others: That after the first prompt.
    """
    totals = torch.stack([each.sum(dim=-1) for each in (rows, others)])
    seen = (totals > 0).all(dim=0)
    p, q = (each / total.clamp_min(1e-30)[..., None] for each, total in zip((rows, others), totals, strict=True))
    divergence = torch.where(seen, jensen_shannon_rows(p, q).clamp_min(0), 0.0).double()
    mean = divergence.sum(dim=-1) / seen.sum(dim=-1)
    return np.asarray(mean.cpu().numpy())


def _shares(rows: Tensor, classes: Tensor, rounding: float) -> NDArray[np.float64]:
    """Mean over queries of the attention on each class of keys, and of what goes to no key, `[measure, head]`."""
    means = (rows @ classes.T.to(rows.device)).double().mean(dim=1).T
    left = (1 - means.sum(dim=0, keepdim=True)).clamp_min(0)
    return torch.cat([means, left * (left > rounding)]).cpu().numpy()
