"""Sentences and JSON of `priming_map`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.files import clean
from kdprobe.probing.options import PrimingMapOptions
from kdprobe.probing.priming.measured import PrimingMap, position_name
from kdprobe.probing.priming.parts import PARTS, PHRASES, POSITIONS
from kdprobe.probing.priming.tables import mean_row, strategy_row, top_rows
from kdprobe.probing.priming.teaching import Teaching
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.words import counted

_QUOTED = 60
"""Characters quoted before the token that changes most."""
_FIRST = position_name(*POSITIONS[0])
"""The range of positions that is the first token."""


def unreadable(analysis: str, error: KdprobeError) -> str:
    """Why there is no result, and what to do."""
    return f"There is no {analysis}: {error.message} {error.hint or ''}".strip()


def statements(maps: Sequence[PrimingMap], teaching: Teaching, options: PrimingMapOptions, tokenizer: Any) -> list[str]:
    """What was read, and what priming changes under each strategy."""
    read = (
        f"The teacher read {texts_read(teaching)}, after each strategy's prompt (primed) and after the bare question, "
        "tokenised identically in both cases. KL(primed || bare) is in nats per token; 0 means that priming changes "
        "nothing."
    )
    return [
        read,
        *(_sentence(each, options, tokenizer) for each in maps),
    ]


def texts_read(teaching: Teaching) -> str:
    """The texts that the teacher reads, in words."""
    origin = {"own": "its answers to the training problems", "gold": "the gold solutions of the training problems"}
    return origin.get(teaching.texts, f"the texts of {teaching.texts}")


def summary(maps: Sequence[PrimingMap], smallest: float) -> dict[str, Any]:
    """The table `priming_map_strategies`, for JSON."""
    return {"strategies": clean([strategy_row(each, smallest) for each in maps if each.responses])}


def _sentence(mapped: PrimingMap, options: PrimingMapOptions, tokenizer: Any) -> str:
    if not mapped.responses:
        return f"{mapped.strategy}: no response contains tokens."
    row = strategy_row(mapped, options.smallest_effect)
    read = f"{counted(row['problems'], 'response')} ({row['tokens']:,} tokens)"
    if mapped.alike:
        why = "the teacher reads the bare question" if mapped.unprimed else "its prompts make no difference"
        return f"{mapped.strategy}: KL is exactly 0 at every token of {read}, because {why}."
    parts = [found for part in PARTS if (found := mean_row(mapped, "part", part))]
    largest = max(parts, key=lambda part: float(part["share"]))
    first = mean_row(mapped, "position", _FIRST)
    share = _percent(row["top_share"])
    if math.isfinite(row["top_share_low"]):
        share += f" ({_percent(row['top_share_low'])} to {_percent(row['top_share_high'])})"
    return (
        f"{mapped.strategy}: KL is {_value(row)} over {read}. {_outcome(row, options.smallest_effect)} "
        f"Of the total KL, {share} is in the 10% of tokens with the largest KL, "
        f"{_percent(first['share'] if first else 0)} in the first token of each response, and "
        f"{_percent(largest['share'])} in {PHRASES[largest['cell']]}. "
        f"{_unchanged(row, options.smallest_effect)} {_largest(mapped, tokenizer)}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _value(row: Mapping[str, Any]) -> str:
    interval = f"{row['low']:.3g} to {row['high']:.3g}" if math.isfinite(row["low"]) else "no interval"
    return f"{row['value']:.3g} nats per token ({interval})"


def _outcome(row: Mapping[str, Any], smallest: float) -> str:
    limit = f"{smallest:g} nats"
    if row["problems"] < FEWEST_PROBLEMS:
        few = "One response is too few" if row["problems"] == 1 else "These are too few responses"
        return f"{few} to tell whether KL exceeds {limit}."
    if row["low"] >= smallest:
        return f"Its whole interval is above {limit}."
    if row["high"] < smallest:
        return f"Its whole interval is below {limit}: priming changes next to nothing."
    return f"Its interval includes {limit}, so the data do not show whether KL exceeds that."


def _unchanged(row: Mapping[str, Any], smallest: float) -> str:
    of = counted(row["problems"], "response")
    return (
        f"In {row['unchanged']} of {of}, KL is below {smallest:g} nats per token; in {row['same_greedy']}, the most "
        "probable token at every position is the same after both prompts."
    )


def _largest(mapped: PrimingMap, tokenizer: Any) -> str:
    top = next(top_rows(mapped, tokenizer))
    before = f"after {top['before'][-_QUOTED:]!r}" if top["before"] else "at the start"
    primed, bare = top["primed_token"], top["bare_token"]
    tokens = (
        f"{primed!r} after both prompts"
        if primed == bare
        else f"{primed!r} after the primed prompt and {bare!r} after the bare question"
    )
    return (
        f"The largest KL at a single token, {top['kl']:.3g} nats, is in problem {top['problem']!r} {before}: the most "
        f"probable token is {tokens}."
    )
