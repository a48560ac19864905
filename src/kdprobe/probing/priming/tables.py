"""The tables of `priming_map`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kdprobe.probing.outputs.differences.tables import token_texts
from kdprobe.probing.priming.measured import PrimingMap, ReadResponse, position_name
from kdprobe.probing.priming.parts import PARTS, POSITIONS, RESPONSE

_CONTEXT = 16
"""Tokens of the response that are shown before a token."""
_TOP = 20
"""Tokens of each strategy that are listed."""


def priming_tables(maps: Sequence[PrimingMap], smallest: float, tokenizer: Any) -> dict[str, pd.DataFrame]:
    """Means per part and position, one row per strategy, per response and per token, and the tokens that change most.

    Args:
        maps: The measurements.
        smallest: As in the options.
        tokenizer: The tokenizer of the teacher.
    """
    tokens = [frame for each in maps for frame in _token_frames(each, tokenizer)]
    tables = {
        "priming_map": pd.DataFrame([row for each in maps for row in mean_rows(each)]),
        "priming_map_strategies": pd.DataFrame([strategy_row(each, smallest) for each in maps if each.responses]),
        "priming_map_responses": pd.DataFrame([row for each in maps for row in _response_rows(each, smallest)]),
        "priming_map_top": pd.DataFrame([row for each in maps for row in top_rows(each, tokenizer)]),
        "priming_map_tokens": pd.concat(tokens, ignore_index=True) if tokens else pd.DataFrame(),
    }
    return {name: table for name, table in tables.items() if len(table)}


def mean_rows(mapped: PrimingMap) -> Iterator[dict[str, Any]]:
    """A row per part, per range of positions, and for the whole response; none without such tokens."""
    for part in (*PARTS, RESPONSE):
        if row := mean_row(mapped, "part", part):
            yield row
    for first, last in POSITIONS:
        if row := mean_row(mapped, "position", position_name(first, last)):
            yield row


def mean_row(mapped: PrimingMap, by: str, cell: str) -> dict[str, Any] | None:
    """The row of one part or range of positions, or `None` if no response has such tokens."""
    if not mapped.responses or (found := mapped.mean(cell)) is None:
        return None
    mean, total, sizes = found
    return {
        "strategy": mapped.strategy,
        "by": by,
        "cell": cell,
        "value": mean.value,
        # No divergence is below 0.
        "low": max(0.0, mean.interval.low) if mean.interval.known else np.nan,
        "high": mean.interval.high,
        "standard_error": mean.error,
        "share": np.nan if mapped.alike else total / float(mapped.kl.sum()),
        "problems": len(sizes),
        "tokens": int(sizes.sum()),
    }


def strategy_row(mapped: PrimingMap, smallest: float) -> dict[str, Any]:
    """What one strategy's priming changes altogether."""
    whole = mean_row(mapped, "part", RESPONSE) or {}
    share, interval = mapped.top_share
    return {
        "strategy": mapped.strategy,
        "unprimed": mapped.unprimed,
        **{name: whole[name] for name in ("value", "low", "high", "standard_error")},
        "top_share": share,
        "top_share_low": interval.low,
        "top_share_high": interval.high,
        "unchanged": sum(bool(each.changes.kl.mean() < smallest) for each in mapped.responses),
        "same_greedy": sum(each.same_greedy for each in mapped.responses),
        **{name: whole[name] for name in ("problems", "tokens")},
    }


def top_rows(mapped: PrimingMap, tokenizer: Any) -> Iterator[dict[str, Any]]:
    """The tokens with the largest divergence, and their context; none if nothing changes."""
    if mapped.alike:
        return
    decode, total = token_texts(tokenizer), float(mapped.kl.sum())
    owners = [(each, index) for each in mapped.responses for index in range(len(each.ids))]
    for rank, row in enumerate(np.argsort(-mapped.kl, kind="stable")[:_TOP].tolist(), start=1):
        each, index = owners[row]
        primed, unprimed = each.changes.greedy[index].tolist()
        yield {
            "strategy": mapped.strategy,
            "rank": rank,
            "problem": each.problem,
            "position": index + 1,
            "part": str(each.parts[index]),
            "before": tokenizer.decode(each.ids[max(0, index - _CONTEXT) : index]),
            "token": decode(each.ids[index]),
            "kl": float(each.changes.kl[index]),
            "share": float(each.changes.kl[index]) / total,
            "log_p_primed": float(each.changes.log_p[index, 0]),
            "log_p_bare": float(each.changes.log_p[index, 1]),
            "primed_token": decode(primed),
            "bare_token": decode(unprimed),
        }


def _response_rows(mapped: PrimingMap, smallest: float) -> Iterator[dict[str, Any]]:
    for each in mapped.responses:
        kl = each.changes.kl
        yield {
            "strategy": mapped.strategy,
            "problem": each.problem,
            "value": float(kl.mean()),
            "largest": float(kl.max()),
            "unchanged": bool(kl.mean() < smallest),
            "same_greedy": each.same_greedy,
            "log_p_primed": float(each.changes.log_p[:, 0].sum()),
            "log_p_bare": float(each.changes.log_p[:, 1].sum()),
            "tokens": len(each.ids),
        }


def _token_frames(mapped: PrimingMap, tokenizer: Any) -> Iterator[pd.DataFrame]:
    decode = token_texts(tokenizer)
    for each in mapped.responses:
        yield _token_frame(mapped.strategy, each, decode)


def _token_frame(strategy: str, each: ReadResponse, decode: Any) -> pd.DataFrame:
    changes = each.changes
    return pd.DataFrame(
        {
            "strategy": strategy,
            "problem": each.problem,
            "position": range(1, len(each.ids) + 1),
            "part": each.parts.astype(object),
            "token": [decode(token) for token in each.ids],
            "token_id": each.ids,
            "kl": changes.kl,
            "log_p_primed": changes.log_p[:, 0],
            "log_p_bare": changes.log_p[:, 1],
            "primed_token": [decode(token) for token in changes.greedy[:, 0].tolist()],
            "bare_token": [decode(token) for token in changes.greedy[:, 1].tolist()],
        }
    )
