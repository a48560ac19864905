"""The analysis `ov-copying`: does a head write what it reads?

The copying score of Elhage et al., "A Mathematical Framework for Transformer Circuits" (2021): the eigenvalues of the
full OV circuit, from the attended token to the logits that it adds, are summed and divided by the sum of their absolute
values. At 1, every direction raises its own logit; at -1, every direction lowers it. The scales of the norms before and
after attention and of the final norm are folded in; what a norm divides by is positive and can be ignored.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.console import progress
from kdprobe.probing import FROM_WEIGHTS, AnalysisContext, AnalysisResult, Need, change_maps, head_label, head_map
from kdprobe_circuits.options import CopyingOptions
from kdprobe_circuits.tables import by_head
from kdprobe_circuits.weights import Circuits, circuits


class CopyingAnalysis:
    """The copying score of every head of every student."""

    needs: frozenset[Need] = frozenset({"students", "problems"})

    def __init__(self, options: CopyingOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Reads the weights; the problems are used only for the self-check."""
        with progress("Copying heads", len(context.students)) as bar:
            scores = {}
            for student in circuits(context):
                scores[student.name] = copying_scores(student)
                bar.advance()
        first, *others = scores
        changes = {name: scores[name] - scores[first] for name in others}
        return AnalysisResult(
            tables={
                "ov_copying": pd.concat(
                    [by_head(name, copying_score=value) for name, value in scores.items()]
                ).reset_index(drop=True)
            },
            figures=[
                head_map(f"OV copying score by head: {first}", scores[first], "score", FROM_WEIGHTS),
                *change_maps(changes, "the OV copying score", first, "score", FROM_WEIGHTS),
            ],
            statements=[*self._counts(scores), *(_change(name, change, first) for name, change in changes.items())],
            summary={
                "copying_heads": {name: int((value > self.options.threshold).sum()) for name, value in scores.items()}
            },
        )

    def _counts(self, scores: dict[str, NDArray[np.float64]]) -> list[str]:
        counts = ", ".join(f"{name} {int((value > self.options.threshold).sum())}" for name, value in scores.items())
        heads = next(iter(scores.values())).size
        return [f"Number of heads that copy (score above {self.options.threshold:g}), out of {heads}: {counts}."]


def build(options: CopyingOptions) -> CopyingAnalysis:
    """Returns the analysis."""
    return CopyingAnalysis(options)


def copying_scores(student: Circuits) -> NDArray[np.float64]:
    """Returns the score of every head, `[layer, head]`."""
    between = student.unembedding @ student.embedding
    return np.stack(
        [copying_score(student.value(layer), student.output(layer), between).numpy() for layer in range(student.layers)]
    )


def copying_score(value: Tensor, output: Tensor, between: Tensor) -> Tensor:
    """Returns the sum of the eigenvalues over the sum of their absolute values.

    The circuit E V O U is a matrix over the vocabulary. Its nonzero eigenvalues are those of O U E V, which is only as
    wide as a head.

    Args:
        value: V, `[head, width, d_head]`.
        output: O, `[head, d_head, width]`.
        between: U E, `[width, width]`.

    Returns:
        Scores `[head]`, from -1 to 1.
    """
    eigenvalues = torch.linalg.eigvals(output @ between @ value)
    score: Tensor = eigenvalues.real.sum(dim=-1) / eigenvalues.abs().sum(dim=-1)
    return score


def _change(name: str, change: NDArray[np.float64], first: str) -> str:
    if not change.any():
        return f"{name}: no head's copying score differs from that of the same head in {first!r}."
    layer, head = (int(index) for index in np.unravel_index(np.abs(change).argmax(), change.shape))
    return (
        f"{name}: the head whose copying score differs most from that of the same head in {first!r} is "
        f"{head_label(layer, head)} ({change[layer, head]:+.3f}). The score is a property of the weights: it has no "
        "interval and says nothing about causation."
    )
