"""The analysis `successor-heads`: does a head turn a number into the next one?

After Gould et al., "Successor Heads: Recurring, Interpretable Attention Heads In The Wild" (2023), arXiv 2312.09230.
A number's token is read alone. Its state after the first layer passes through a head's value and output weights to the
logits of all numbers. The successor score is the share of numbers whose successor gets the largest logit. Heads in the
first layer read the embedding itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor

from kdprobe import KdprobeError
from kdprobe.console import progress
from kdprobe.probing import FROM_WEIGHTS, AnalysisContext, AnalysisResult, Need, change_maps, head_label, head_map
from kdprobe_circuits.options import SuccessorOptions
from kdprobe_circuits.tables import by_head
from kdprobe_circuits.weights import Circuits, circuits

_FEWEST = 5
_LEVEL = 0.05


class SuccessorAnalysis:
    """The successor score of every head of every student."""

    needs: frozenset[Need] = frozenset({"students", "problems"})

    def __init__(self, options: SuccessorOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Reads numbers and weights; the problems are used only for the self-check.

        Raises:
            KdprobeError: The tokenizer has too few numbers that are single tokens.
        """
        with progress("Successor heads", len(context.students)) as bar:
            scores = {}
            for student in circuits(context):
                numbers = number_tokens(student.tokenizer, self.options.largest)
                scores[student.name] = successor_scores(student, numbers)
                bar.advance()
        first, *others = scores
        changes = {name: scores[name] - scores[first] for name in others}
        return AnalysisResult(
            tables={
                "successor_heads": pd.concat(
                    [by_head(name, successor_score=value, numbers=len(numbers)) for name, value in scores.items()],
                    ignore_index=True,
                )
            },
            figures=[
                head_map(f"Successor score by head: {first}", scores[first], "share of numbers", FROM_WEIGHTS),
                *change_maps(changes, "the successor score", first, "share", FROM_WEIGHTS),
            ],
            statements=[_best(name, value, len(numbers)) for name, value in scores.items()],
            summary={"best": {name: float(value.max()) for name, value in scores.items()}},
        )


def build(options: SuccessorOptions) -> SuccessorAnalysis:
    """Returns the analysis."""
    return SuccessorAnalysis(options)


def number_tokens(tokenizer: Any, largest: int) -> list[int]:
    """Returns the tokens of 0, 1, 2, … up to the first number that is not a single token.

    Raises:
        KdprobeError: There are fewer than five such numbers.
    """
    found: list[int] = []
    for number in range(largest + 1):
        ids = tokenizer(str(number), add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            break
        found += ids
    if len(found) < _FEWEST:
        raise KdprobeError(
            f"The analysis 'successor-heads' needs {_FEWEST} numbers from 0 on that are single tokens; this tokenizer "
            f"has {len(found)}.",
            "Leave out the analysis for this model.",
        )
    return found


def successor_scores(student: Circuits, numbers: list[int]) -> NDArray[np.float64]:
    """Returns the score of every head, `[layer, head]`."""
    embedded, after_first = _states(student.bridge, numbers)
    unembedding = student.unembedding[:, numbers]
    scores = []
    for layer in range(student.layers):
        states = embedded if layer == 0 else after_first
        values = student.read(layer, states) @ student.value(layer) + student.value_bias(layer)[:, None]
        scores.append(successor_score(values @ student.output(layer) @ unembedding).numpy())
    return np.stack(scores)


def successor_score(logits: Tensor) -> Tensor:
    """Returns the share of numbers, except the last, whose successor has the largest logit.

    Args:
        logits: `[head, number, logit of number]`.

    Returns:
        Shares `[head]`.
    """
    best = logits[:, :-1].argmax(dim=-1)
    score: Tensor = (best == torch.arange(1, logits.shape[-1])).double().mean(dim=-1)
    return score


def _states(bridge: Any, numbers: list[int]) -> tuple[Tensor, Tensor]:
    """Returns each number's embedding, and its state after the first layer when read alone, `[number, width]`."""
    kept: dict[str, Tensor] = {}

    def keep(state: Tensor, hook: Any) -> None:  # noqa: ARG001
        kept.setdefault("after", state[:, 0])

    ids = torch.tensor(numbers, device=bridge.cfg.device)[:, None]
    with torch.inference_mode():
        bridge.run_with_hooks(ids, fwd_hooks=[("blocks.0.hook_resid_post", keep)], return_type=None)
    return bridge.W_E.detach().double().cpu()[numbers], kept["after"].double().cpu()


def _best(name: str, scores: NDArray[np.float64], numbers: int) -> str:
    layer, head = (int(index) for index in np.unravel_index(scores.argmax(), scores.shape))
    pairs = numbers - 1
    # How many pairs the best of all heads gets right by guessing, exceeded in at most one of twenty models.
    by_chance = int(binom.isf(_LEVEL / scores.size, pairs, 1 / numbers))
    return (
        f"{name}: the best successor head is {head_label(layer, head)}, which maps {round(scores.max() * pairs)} of "
        f"{pairs} numbers to the next one; by chance, the best of {scores.size} heads would map up to {by_chance}."
    )
