"""The tables of `priming_heads`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kdprobe.probing.priming.heads.attending import LEARNED_SINK, MEASURES
from kdprobe.probing.priming.heads.measured import BARE, PRIMED, TESTED, PrimedHeads


def head_tables(heads: Sequence[PrimedHeads]) -> dict[str, pd.DataFrame]:
    """One row per strategy, measure and head; one per strategy; and one per problem for the tested measures."""
    read = [each for each in heads if each.problems]
    if not read:
        return {}
    measures = [name for name in MEASURES if name != LEARNED_SINK or any(each.sinks for each in read)]
    return {
        "priming_heads": pd.concat(
            [_head_frame(each, measure) for each in read for measure in measures], ignore_index=True
        ),
        "priming_heads_strategies": pd.DataFrame([strategy_row(each) for each in read]),
        "priming_heads_problems": pd.concat(
            [frame for each in read for frame in _problem_frames(each)], ignore_index=True
        ),
    }


def strategy_row(each: PrimedHeads) -> dict[str, Any]:
    """What was read under one strategy, and how many heads priming moves."""
    counts = {f"moved_by_{measure}": len(each.moved_heads(measure)) if each.decidable else None for measure in TESTED}
    return {
        "strategy": each.strategy,
        "unprimed": each.unprimed,
        "heads": int(np.prod(each.values.shape[-2:])),
        **counts,
        "divided_out_primed": each.divided_out(PRIMED),
        "divided_out_bare": each.divided_out(BARE),
        "priming_tokens": float(np.mean(each.priming)) if each.controlled else np.nan,
        "neutral_texts": each.neutral_texts,
        "problems": len(each.problems),
        "located": len(each.located),
        "tokens": sum(each.tokens),
    }


def _head_frame(each: PrimedHeads, measure: str) -> pd.DataFrame:
    layer, head = np.indices(each.values.shape[-2:])
    beyond, change = each.beyond(measure), each.change(measure)
    untold = np.full(layer.shape, np.nan)
    moved: Any = each.moved(measure) if measure in TESTED else np.full(layer.shape, None)
    columns: dict[str, Any] = {
        "layer": layer,
        "head": head,
        "primed": each.mean(measure, PRIMED),
        "bare": each.mean(measure, BARE),
        "neutral": each.neutral(measure),
        "change": change.value,
        "change_low": change.low,
        "change_high": change.high,
        "value": beyond.value,
        "low": beyond.low,
        "high": beyond.high,
        "p_over_problems": each.p_over_problems.get(measure, untold),
        "p_over_texts": each.p_over_texts.get(measure, untold),
    }
    return pd.DataFrame(
        {
            "strategy": each.strategy,
            "measure": measure,
            **{name: values.ravel() for name, values in columns.items()},
            "moved": pd.array(moved.ravel(), dtype="boolean"),
        }
    )


def _problem_frames(each: PrimedHeads) -> Iterator[pd.DataFrame]:
    layer, head = np.indices(each.values.shape[-2:])
    for measure in TESTED:
        for problem, primed, neutral in zip(
            each.problems, each.of(measure)[:, PRIMED], each.neutral_by_problem(measure), strict=True
        ):
            yield pd.DataFrame(
                {
                    "strategy": each.strategy,
                    "problem": problem,
                    "measure": measure,
                    "layer": layer.ravel(),
                    "head": head.ravel(),
                    "primed": primed.ravel(),
                    "neutral": neutral.ravel(),
                }
            )
