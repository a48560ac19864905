"""Which answers were cut off: by a column that says so, by the reason for which each ended, or by servers' replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdprobe.comparison.reading.cells import flag, text
from kdprobe.comparison.reading.columns import CUT_OFF, ENDINGS, find
from kdprobe.comparison.reading.replies import INSIDE, SAMPLES, in_order
from kdprobe.comparison.reading.table import Table

_CUT = frozenset((
    "length", "max_tokens", "max_output_tokens", "max_new_tokens", "max_length", "model_length", "token_limit",
    "model_context_window_exceeded", "context_length_exceeded",
))  # fmt: skip
"""OpenAI, vLLM and Ollama; Anthropic and Gemini; OpenAI's responses API; TGI and others; inspect_ai; and so on."""
_ENDED = frozenset((
    "stop", "end_turn", "eos", "eos_token", "stop_sequence", "stop_str", "end", "completed", "complete", "tool_calls",
    "tool_call", "tool_use", "function_call", "content_filter", "refusal", "safety", "recitation", "pause_turn",
))  # fmt: skip
_SHOWN = 3
"""Unknown reasons that a note shows."""


def is_cut_off(reason: Any) -> bool | None:
    """Whether an answer that ended for this reason was cut off; `None` if the reason is unknown."""
    name = text(reason).strip().lower() if isinstance(reason, str) else ""
    return True if name in _CUT else False if name in _ENDED else None


def cut_off(table: Table, response: str | None) -> list[bool] | None:
    """Whether each answer was cut off, `None` if unknown; an empty cell says no.

    Args:
        table: The table; its notes say where this was read, if not from a column that says so itself.
        response: The column of responses, which may hold servers' replies.
    """
    for name in find(table, CUT_OFF):
        cells = table.cells[name]
        if not any(map(text, cells)):
            continue
        flags = [flag(cell) if text(cell).strip() else False for cell in cells]
        if None not in flags:
            return [bool(each) for each in flags]
        table.notes.append(f"The column {name!r} is ignored: not every cell is true or false.")
    for name in find(table, ENDINGS):
        reasons = [cell[0] if isinstance(cell, list) and cell else cell for cell in table.cells[name]]
        if (cut := _by_reason(table, reasons, f"The column {name!r} says")) is not None:
            return cut
    if response is None:
        return None
    return _by_reason(
        table, [_reply_ending(cell) for cell in table.cells[response]], f"The replies in {response!r} say"
    )


def _by_reason(table: Table, reasons: Sequence[Any], beginning: str) -> list[bool] | None:
    """Whether each answer was cut off, `None` if no reason is known; a note with this beginning says so."""
    flags = [is_cut_off(reason) for reason in reasons]
    if not any(each is not None for each in flags):
        return None
    given = [text(reason).strip() for reason in reasons]
    unknown = sorted({reason for reason, each in zip(given, flags, strict=True) if reason and each is None})
    note = f"{beginning} which answers were cut off"
    if unknown:
        shown = unknown[:_SHOWN]
        note += f"; {', '.join(map(repr, shown))} {'does' if len(shown) == 1 else 'do'} not count as cut off"
    table.notes.append(f"{note}.")
    return [bool(each) for each in flags]


def _reply_ending(reply: Any) -> Any:
    """The reason that a server's reply gives for the end of its first sample, or `None`."""
    if isinstance(reply, list):
        return _reply_ending(in_order(reply)[0]) if reply and isinstance(reply[0], Mapping) else None
    if not isinstance(reply, Mapping):
        return None
    named = {key.lower(): value for key, value in reply.items() if isinstance(key, str) and isinstance(value, str)}
    details = reply.get("incomplete_details")
    if isinstance(details, Mapping) and isinstance(details.get("reason"), str):
        return details["reason"]
    inside = (_reply_ending(reply[key]) for key in (*SAMPLES, *INSIDE) if key in reply)
    return next((named[name] for name in ENDINGS if name in named), None) or next(filter(None, inside), None)
