"""The analysis `attribution`: what every head writes directly into the logit of the gold tokens.

Direct logit attribution (Elhage et al., 2021, "A Mathematical Framework for Transformer Circuits"): the last residual
stream is a sum of the outputs of embedding, heads and MLPs. With the scales of norms held fixed, and the final norm's
weights folded into the unembedding W_U, the logit of token t is also a sum over them. A head adds

    (z W_O / scale) . W_U[:, t]

with W_U centred, so that the contribution is relative to the mean over the vocabulary. If attention is normalised or
scaled before it is added to the stream, so is z W_O. Effects through later layers are not included. Biases of values
are part of z; the bias of the output projection belongs to no head and is reported by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdprobe.console import Progress, progress
from kdprobe.errors import KdprobeError
from kdprobe.models.anatomy import anatomy
from kdprobe.models.load import LoadedModel
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.figures import signed_maps
from kdprobe.probing.interventions.options import AttributionOptions
from kdprobe.probing.interventions.sweep import Array, chosen_students, load_in_full
from kdprobe.probing.outputs.attribution_report import attribution_statements, attribution_table, bias_table
from kdprobe.probing.outputs.stream import Stream, read_stream
from kdprobe.probing.outputs.unembedding import Unembedding, unembedding
from kdprobe.probing.tables import top
from kdprobe.students.sequence import ProblemSequence

_TOP = 10
TOLERANCE = 1e-2
"""Largest difference allowed between a gold token's logit and the sum of its contributions."""


class AttributionAnalysis:
    """Attributes the gold tokens' logits to heads, for every student."""

    def __init__(self, options: AttributionOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Attributes logits for every student."""
        sequences = context.sequences[: self.options.problems]
        attributions: dict[str, Attribution] = {}
        for student in chosen_students(context.students, self.options.students, "attribution"):
            with progress(f"Logit attribution: {student.name}", len(sequences)) as bar:
                attributions[student.name] = attribute(load_in_full(context.pool, student), sequences, bar=bar)
        heads = {name: found.heads for name, found in attributions.items()}
        tables = [attribution_table(name, values, sequences, context.seed) for name, values in heads.items()]
        pooled = {name: values[..., 0].mean(axis=0) for name, values in heads.items()}
        biases = {name: found.biases for name, found in attributions.items() if found.biases.any()}
        return AnalysisResult(
            tables={
                "attribution": pd.concat(tables, ignore_index=True),
                **({"attribution_biases": bias_table(biases)} if biases else {}),
            },
            figures=signed_maps(
                {
                    f"Direct attribution of the gold tokens' logits to heads: {name}": values
                    for name, values in pooled.items()
                },
                "logit",
            ),
            statements=attribution_statements(
                heads, biases, [name for name, found in attributions.items() if found.capped], context.seed
            ),
            summary={
                "students": {
                    name: top(values, ranked(np.abs(values))[:_TOP], "logit") for name, values in pooled.items()
                }
            },
        )


def build(options: AttributionOptions) -> AttributionAnalysis:
    """Returns the analysis."""
    return AttributionAnalysis(options)


@dataclass(frozen=True)
class Attribution:
    """Contributions of attention to the logits of the gold tokens, averaged over a target's tokens, in units of logits.

    Attributes:
        heads: `[problem, layer, head, target]`.
        biases: Contributions of the output projections' biases, `[problem, layer, target]`.
        capped: Whether the model caps its logits; the attribution is of the logits before the cap.
    """

    heads: Array
    biases: Array
    capped: bool


@torch.no_grad()
def attribute(student: LoadedModel, sequences: Sequence[ProblemSequence], *, bar: Progress) -> Attribution:
    """Attributes the gold tokens' logits.

    Args:
        student: The student, merged, in float32.
        sequences: The sequences that it reads.
        bar: Advanced by one per sequence.

    Raises:
        KdprobeError: The heads do not add up to attention's output, or the logits do not follow from the last residual
            stream.
    """
    model: Any = student.model
    parts, matrix = anatomy(model), unembedding(model, len(student.tokenizer))
    values, biases = [], []
    for sequence in sequences:
        ids = torch.tensor([sequence.ids_without_end], device=student.device)
        gold = ids[0, sequence.begin :]
        rows = torch.arange(sequence.begin - 1, ids.shape[1] - 1, device=ids.device)
        stream = read_stream(model, parts, ids, rows)
        direction = _checked_direction(stream, matrix, gold)
        heads, layer_biases = [], []
        for layer, written in enumerate(stream.layers):
            into = written.back(direction)
            of_heads = torch.einsum("rhi,hid,rd->rh", written.z, parts.output_matrix(layer).to(into.device), into)
            bias = getattr(parts.outputs[layer], "bias", None)
            of_bias = torch.zeros_like(into[:, 0]) if bias is None else into @ bias.to(into.device)
            _refuse(float(((written.attended * into).sum(dim=-1) - of_heads.sum(dim=-1) - of_bias).abs().max()))
            heads.append(of_heads)
            layer_biases.append(of_bias)
        value = torch.tensor(sequence.value, device=ids.device) - sequence.begin
        values.append(_means(torch.stack(heads), value))
        biases.append(_means(torch.stack(layer_biases), value))
        bar.advance(1)
    return Attribution(np.stack(values), np.stack(biases), matrix.cap is not None)


def _means(written: Tensor, value: Tensor) -> Array:
    """Averages over all rows and over those of the value, `[layer, row, ...]` to `[layer, ..., target]`."""
    targets: Array = torch.stack([written.mean(dim=1), written[:, value].mean(dim=1)], dim=-1).double().cpu().numpy()
    return targets


def _checked_direction(stream: Stream, matrix: Unembedding, gold: Tensor) -> Tensor:
    """The direction on each row's last residual stream that gives the logit of its gold token, `[row, d_model]`.

    Raises:
        KdprobeError: The logits do not follow from it.
    """
    logits = matrix.uncapped(stream.logits)
    centred = matrix.centred(gold)
    direction = stream.norm.back(centred)
    written = (stream.last * direction).sum(dim=-1) + centred @ stream.norm.bias + matrix.centred_bias(gold)
    _refuse(float((written - (logits.gather(1, gold[:, None])[:, 0] - logits.mean(dim=-1))).abs().max()))
    return direction


def _refuse(error: float) -> None:
    if not error <= TOLERANCE:
        raise KdprobeError(
            f"The contributions of the heads do not add up to the logits (off by {error:.2g}).",
            "Remove the analysis: direct attribution would be wrong for this architecture.",
        )
