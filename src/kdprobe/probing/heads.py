"""The analysis `heads`: what every head of every student does on the same tokens, and what training changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdprobe.console import progress
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Need
from kdprobe.probing.figures import change_map, layer_curves
from kdprobe.probing.stream import head_metrics


class HeadsAnalysis:
    """Per-head entropy, self-attention focus, sparsity and similarity, over question and gold solution."""

    needs: frozenset[Need] = frozenset({"patterns"})

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Measures every student on the same tokens: the bare question, then the gold solution."""
        sequences = context.sequences
        measured: dict[str, dict[str, NDArray[np.float64]]] = {}
        checks = []
        for student in context.students:
            bridged = context.bridges.boot(student.name)
            checks.append(
                {
                    "student": student.name,
                    "logit_error": bridged.logit_error,
                    "pattern_error": bridged.pattern_error,
                }
            )
            with progress(f"Heads of {student.name}", len(sequences), unit="tok") as bar:
                measured[student.name] = head_metrics(
                    bridged, sequences, context.head_metrics, batch_size=context.batch_size, bar=bar
                )
        return AnalysisResult(
            tables={"heads": _tidy(measured), "self_check": pd.DataFrame(checks)},
            figures=[*layer_curves(measured), *change_map(measured)],
            findings=_findings(measured, len(sequences), checks),
        )


def build(_options: None) -> HeadsAnalysis:
    """The analysis takes no options."""
    return HeadsAnalysis()


def _tidy(measured: dict[str, dict[str, NDArray[np.float64]]]) -> pd.DataFrame:
    """One row per student, metric, layer and head: mean and standard error over problems."""
    frames = []
    for student, metrics in measured.items():
        for metric, values in metrics.items():
            problems, layers, heads = values.shape
            layer, head = np.meshgrid(np.arange(layers), np.arange(heads), indexing="ij")
            frames.append(
                pd.DataFrame(
                    {
                        "student": student,
                        "metric": metric,
                        "layer": layer.ravel(),
                        "head": head.ravel(),
                        "mean": values.mean(axis=0).ravel(),
                        "standard_error": (values.std(axis=0, ddof=1) / np.sqrt(problems)).ravel()
                        if problems > 1
                        else np.nan,
                        "problems": problems,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def _findings(
    measured: dict[str, dict[str, NDArray[np.float64]]], problems: int, checks: list[dict[str, Any]]
) -> list[str]:
    worst = max(max(check["logit_error"], check["pattern_error"]) for check in checks)
    sentences = [
        f"TransformerLens agrees with Hugging Face on every student (largest difference {worst:.1g}).",
    ]
    names = list(measured)
    entropies = {name: measured[name]["entropy"].mean(axis=(1, 2)) for name in names}
    listed = ", ".join(f"{name} {entropies[name].mean():.4f}" for name in names)
    sentences.append(f"Mean attention entropy in nats, over {problems} problems and all heads: {listed}.")
    base = names[0]
    for name in names[1:]:
        moved = measured[name]["entropy"].mean(axis=0) - measured[base]["entropy"].mean(axis=0)
        layer, head = np.unravel_index(np.abs(moved).argmax(), moved.shape)
        sentences.append(
            f"{name}: no head's entropy differs from {base}'s."
            if not moved.any()
            else f"{name}: the head whose entropy differs most from {base}'s is layer {layer}, head {head} "
            f"({moved[layer, head]:+.3f} nats). A difference seen, not a cause shown."
        )
    return sentences
