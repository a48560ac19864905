"""The analysis `attribution`: what every head writes directly into the logit of the gold tokens.

Direct logit attribution (Elhage et al., 2021, "A Mathematical Framework for Transformer Circuits"): the last residual
stream is a sum of what embedding, heads and MLPs wrote. With the final norm's scale held at what it is, and its weights
folded into the unembedding W_U, the logit of token t is a sum over them, too. A head adds

    (z W_O / scale) . W_U[:, t]

with W_U centred, so that it counts against the mean over the vocabulary. What later layers make of the head is not in
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdprobe.console import Progress, progress
from kdprobe.errors import KdprobeError
from kdprobe.models.shared_bases import SharedBases
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Need
from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.figures import signed_maps
from kdprobe.probing.interventions.options import AttributionOptions
from kdprobe.probing.interventions.sweep import Array, chosen_students
from kdprobe.probing.outputs.attribution_report import attribution_statements, attribution_table
from kdprobe.probing.tables import top
from kdprobe.students.bridge import boot
from kdprobe.students.sequence import ProblemSequence
from kdprobe.students.student import Student

_TOP = 10
TOLERANCE = 1e-2
"""Largest difference allowed between a gold token's logit and the sum of what was written into it."""


class AttributionAnalysis:
    """Attributes the gold tokens' logits to heads, for every student on a bridge of its own."""

    needs: frozenset[Need] = frozenset({"students", "problems"})

    def __init__(self, options: AttributionOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Goes through the students."""
        sequences = context.sequences[: self.options.problems]
        attributions: dict[str, Array] = {}
        for student in chosen_students(context.students, self.options.students, "attribution"):
            bridge = compatible_bridge(student, sequences, context.pool.bases)
            with progress(f"Logit attribution: {student.name}", len(sequences)) as bar:
                attributions[student.name] = attribute(bridge, sequences, bar=bar)
        tables = [attribution_table(name, values, sequences, context.seed) for name, values in attributions.items()]
        pooled = {name: values[..., 0].mean(axis=0) for name, values in attributions.items()}
        return AnalysisResult(
            tables={"attribution": pd.concat(tables, ignore_index=True)},
            figures=signed_maps(
                {
                    f"Direct attribution of the gold tokens' logits to heads: {name}": values
                    for name, values in pooled.items()
                },
                "logit",
            ),
            statements=attribution_statements(attributions, context.seed),
            summary={
                "students": {
                    name: top(values, ranked(np.abs(values))[:_TOP], "logit") for name, values in pooled.items()
                }
            },
        )


def build(options: AttributionOptions) -> AttributionAnalysis:
    """The analysis."""
    return AttributionAnalysis(options)


def compatible_bridge(student: Student, sequences: Sequence[ProblemSequence], bases: SharedBases | None = None) -> Any:
    """A student on a `TransformerBridge` of its own, in compatibility mode, which rewrites weights.

    Args:
        student: The student.
        sequences: What it reads; the self-check is on the first two.
        bases: Where the base model is loaded; others may share it.

    Raises:
        KdprobeError: TransformerLens does not know the architecture, or the self-check failed.
    """
    check = [sequence.ids for sequence in sequences[:2]]
    bridge = boot(student, check, bases, own_weights=True).bridge
    bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge


@torch.inference_mode()
def attribute(bridge: Any, sequences: Sequence[ProblemSequence], *, bar: Progress) -> Array:
    """What every head writes into the logits of the gold tokens, means over a target's tokens.

    Args:
        bridge: A student, from `compatible_bridge`.
        sequences: What it reads.
        bar: Advanced by one per sequence.

    Returns:
        `[problem, layer, head, target]`, in units of logits.

    Raises:
        KdprobeError: The heads' parts are not what attention wrote, or the last residual stream not what the logits
            come from.
    """
    values = []
    for sequence in sequences:
        ids = torch.tensor([sequence.ids_without_end], device=bridge.cfg.device)
        gold = ids[0, sequence.begin :]
        rows = torch.arange(sequence.begin - 1, ids.shape[1] - 1, device=ids.device)
        stream = _read(bridge, ids, rows)
        # What the residual stream of a row writes into the logit of its gold token, `[row, d_model]`.
        direction = bridge.W_U.T[gold] / stream.scale
        logits = (stream.last * direction).sum(dim=-1) + bridge.b_U[gold]
        _refuse(float((logits - stream.logits.gather(1, gold[:, None])[:, 0]).abs().max()))
        layers = []
        for z, matrices, attended in zip(stream.z, bridge.W_O, stream.attended, strict=True):
            heads = torch.einsum("rhi,hid,rd->rh", z, matrices, direction)
            # What is left of the attention's output is its bias, the same in every row.
            rest = attended - torch.einsum("rhi,hid->rd", z, matrices)
            _refuse(float(((rest - rest[:1]) * direction).sum(dim=-1).abs().max()))
            layers.append(heads)
        heads = torch.stack(layers)
        value = torch.tensor(sequence.value, device=ids.device) - sequence.begin
        targets = torch.stack([heads.mean(dim=1), heads[:, value].mean(dim=1)], dim=-1)
        values.append(targets.double().cpu().numpy())
        bar.advance(1)
    return np.stack(values)


@dataclass(frozen=True)
class _Stream:
    """One pass, the answer's rows only.

    Attributes:
        z: Per layer, `[row, head, head_dim]`.
        attended: What attention wrote, per layer, `[row, d_model]`.
        last: The last residual stream, `[row, d_model]`.
        scale: By which the final norm divides it, `[row, 1]`.
        logits: `[row, V]`.
    """

    z: list[Tensor]
    attended: list[Tensor]
    last: Tensor
    scale: Tensor
    logits: Tensor


def _read(bridge: Any, ids: Tensor, rows: Tensor) -> _Stream:
    layers = range(bridge.cfg.n_layers)
    z = [f"blocks.{layer}.attn.hook_z" for layer in layers]
    attended = [f"blocks.{layer}.hook_attn_out" for layer in layers]
    last, scale = f"blocks.{layers[-1]}.hook_resid_post", "ln_final.hook_scale"
    activations: dict[str, Tensor] = {}

    def keep(name: str, tensor: Tensor, hook: Any) -> None:  # noqa: ARG001 - called by name
        activations[name] = tensor[0, rows]

    hooks = [(name, partial(keep, name)) for name in (*z, *attended, last, scale)]
    logits = bridge.run_with_hooks(ids, fwd_hooks=hooks, return_type="logits")[0, rows]
    return _Stream(
        [activations[name] for name in z],
        [activations[name] for name in attended],
        activations[last],
        activations[scale],
        logits,
    )


def _refuse(error: float) -> None:
    if not error <= TOLERANCE:
        raise KdprobeError(
            f"What the heads wrote does not add up to the logits (off by {error:.2g}).",
            "Direct attribution would not be true of this architecture; leave the analysis out.",
        )
