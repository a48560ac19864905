"""Loads a student into TransformerLens, and checks that it computes the same there as in Hugging Face."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdprobe.errors import KdprobeError, NonFiniteError
from kdprobe.models.batching import common_prefix, right_padded
from kdprobe.models.chatter import quiet
from kdprobe.models.devices.spread import refuse_offloaded
from kdprobe.models.forward.float32 import REDUCED, computed_in_float32
from kdprobe.models.load import LoadedModel
from kdprobe.models.reference import Precision
from kdprobe.models.shared_bases import SharedBases
from kdprobe.models.weights import same_weights
from kdprobe.students.pattern_sources import (
    Prefix,
    Show,
    Twins,
    Visit,
    in_hugging_face,
    in_transformer_lens,
    read_prefix,
)
from kdprobe.students.student import Student
from kdprobe.students.switched import SwitchedBridge
from kdprobe.words import counted

TOLERANCE = 1e-4
"""Largest allowed difference between TransformerLens and Hugging Face; in tests, patterns agreed exactly."""


@dataclass(frozen=True)
class BridgedStudent:
    """A student inside TransformerLens.

    Attributes:
        name: The student's name.
        tokenizer: The student's tokenizer.
        logit_error: Largest difference between its logits and Hugging Face's in the self-check.
        pattern_error: Largest difference between attention patterns.
        take: Returns the models, with this student's weights.
        source: The function that reads patterns.
        shared: Whether other students use the same models, with their own weights.
    """

    name: str
    tokenizer: Any
    logit_error: float
    pattern_error: float
    take: Callable[[], Twins]
    source: Show
    shared: bool = False

    @property
    def bridge(self) -> Any:
        """A `TransformerBridge` over the model, float32 unless another data type was chosen, eager attention.

        Students of one base share its modules. Calls, methods and attributes of this object always use this student's
        weights. A part that you keep, such as `bridge.blocks[0]`, has those of the student that was used last.
        """
        return SwitchedBridge(self.take) if self.shared else self.take().bridge

    @torch.inference_mode()
    def prefix(self, sequences: Sequence[Sequence[int]]) -> Prefix | None:
        """Reads the common prefix of these sequences, for `show`."""
        return read_prefix(self.take(), common_prefix(sequences))

    @torch.inference_mode()
    def show(self, ids: Tensor, mask: Tensor, visit: Visit, prefix: Prefix | None = None) -> None:
        """Runs a forward pass up to the last layer's pattern; arguments as in `kdprobe.students.pattern_sources`.

        Patterns are float32. If they were computed in 16 bits, rows that sum to one but for rounding are divided by
        their sums.
        """
        self.source(self.take(), ids, mask, lambda layer, pattern: visit(layer, _in_float32(pattern)), prefix)


def boot(
    student: Student,
    check: Sequence[Sequence[int]],
    bases: SharedBases | None = None,
    dtype: Precision = "float32",
) -> BridgedStudent:
    """Loads a merged student into TransformerLens and compares it with Hugging Face.

    Args:
        student: The student.
        check: A few token id sequences to compare on, of different lengths so that padding is checked too.
        bases: The pool that loads the base model; others may share it.
        dtype: Data type of the weights.

    Raises:
        UsageError: The adapter does not fit the base.
        KdprobeError: TransformerLens does not support the architecture or fails on it, or logits or patterns differ by
            more than `TOLERANCE`, so that measurements would be wrong.
    """
    bases = SharedBases() if bases is None else bases
    loaded = bases.student(student.base, student.adapter, dtype=dtype, attention="eager")
    refuse_offloaded(loaded, "Probing")
    twins = Twins(loaded.model, bridge_over(loaded, same_weights(loaded.model)))
    return checked(student.name, lambda: twins, loaded, check)


def bridge_over(loaded: LoadedModel, model: Any) -> Any:
    """A `TransformerBridge` over a model, whose attention modules it rewires.

    Raises:
        KdprobeError: TransformerLens does not support its architecture, or fails on it.
    """
    from transformer_lens.model_bridge import TransformerBridge

    with quiet(), _in_a_sentence(loaded.record.name, model):
        return TransformerBridge.boot_transformers(
            str(model.config.name_or_path or loaded.record.name),
            hf_model=model,
            tokenizer=loaded.tokenizer,
            device=str(loaded.device),
        )


@contextmanager
def _in_a_sentence(name: str, model: Any) -> Iterator[None]:
    """Turns errors of TransformerLens, which can be of any class and hard to read, into a clear message."""
    try:
        yield
    except Exception as error:
        kind = model.config.model_type
        problem = (
            f"TransformerLens does not support the architecture of {name!r} ({kind})."
            if isinstance(error, (ValueError, NotImplementedError))
            else f"TransformerLens fails on the architecture of {name!r} ({kind}) with this configuration of heads."
        )
        raise KdprobeError(problem, "Remove the analyses of heads; --debug shows the original error.") from error


@torch.inference_mode()
def checked(
    name: str, take: Callable[[], Twins], loaded: LoadedModel, check: Sequence[Sequence[int]]
) -> BridgedStudent:
    """A bridged student, if it agrees with Hugging Face.

    They are compared in float32, with the student's weights, so that rounding does not hide a difference.

    Raises:
        KdprobeError: Logits or patterns differ by more than `TOLERANCE`, or a layer has no attention heads.
        NonFiniteError: The student's logits are NaN or infinite.
    """
    twins = take()
    with computed_in_float32(twins.model, twins.bridge.original_model):
        return _checked(name, take, twins, loaded, check)


def _checked(
    name: str, take: Callable[[], Twins], twins: Twins, loaded: LoadedModel, check: Sequence[Sequence[int]]
) -> BridgedStudent:
    ids, mask = right_padded(check, loaded.tokenizer.pad_token_id, loaded.device)
    real = mask.bool()
    reference = twins.model(input_ids=ids, attention_mask=mask, output_attentions=True, use_cache=False)
    if not reference.logits[real].amax(dim=-1).isfinite().all():
        raise NonFiniteError(f"The logits of {name!r} are NaN or infinite.")
    layers, patterns = twins.bridge.cfg.n_layers, getattr(reference, "attentions", None) or ()
    if len(patterns) != layers:
        few = "none of them has" if not patterns else "only one of them has"
        having = few if len(patterns) < 2 else f"only {len(patterns)} of them have"  # noqa: PLR2004
        raise KdprobeError(
            f"{name!r} has {counted(layers, 'layer')}, but {having} attention heads.",
            "Heads can only be analysed in models in which every layer has them.",
        )
    prefix = read_prefix(twins, common_prefix(check))

    def largest_error(source: Show) -> float:
        """Largest difference between a source's patterns and Hugging Face's; infinite if it shows none."""
        errors = [math.inf] * layers

        def compare(layer: int, pattern: Tensor) -> None:
            errors[layer] = float((_rows(pattern, real) - _rows(patterns[layer], real)).abs().max())

        source(twins, ids, mask, compare, prefix)
        return float(np.max(errors))

    with _in_a_sentence(loaded.record.name, twins.model):
        logits = twins.bridge(ids, attention_mask=mask, return_type="logits")
    logit_error = float((logits[real] - reference.logits[real]).abs().max())
    pattern_error = largest_error(in_transformer_lens)
    # Unlike max, np.max propagates NaN.
    if not np.max([logit_error, pattern_error]) <= TOLERANCE:
        raise KdprobeError(
            f"TransformerLens and Hugging Face disagree on {name!r}: logits by {logit_error:.2g}, "
            f"patterns by {pattern_error:.2g} (at most {TOLERANCE:g} is allowed).",
            "Its heads cannot be analysed; TransformerLens may not support this architecture exactly.",
        )
    try:
        source = in_hugging_face if largest_error(in_hugging_face) <= TOLERANCE else in_transformer_lens
    except KdprobeError:
        source = in_transformer_lens
    return BridgedStudent(name, loaded.tokenizer, logit_error, pattern_error, take, source)


def _rows(pattern: Tensor, real: Tensor) -> Tensor:
    """The rows of real queries, `[real tokens, head, key]`."""
    return pattern.transpose(1, 2)[real]


def _in_float32(pattern: Tensor) -> Tensor:
    if pattern.dtype not in REDUCED:
        return pattern
    rounding = torch.finfo(pattern.dtype).eps
    pattern = pattern.float()
    totals = pattern.sum(dim=-1, keepdim=True)
    # Rows that sum to less leave the rest to a learned sink; rows of padding may contain anything.
    return torch.where((totals - 1).abs() <= rounding, pattern / totals, pattern)
