"""Sentences and JSON of `output_divergence`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kdprobe.files import clean
from kdprobe.probing.options import OutputDivergenceOptions
from kdprobe.probing.outputs.differences.measured import Group, Pair, Text, shown
from kdprobe.probing.outputs.differences.parting import Parting, partings
from kdprobe.probing.outputs.differences.parts import PARTS, PHRASES, SOLUTION
from kdprobe.probing.outputs.differences.tables import mean_row, mean_rows
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.words import counted

_CONTEXT = 8
"""Tokens quoted before the token where students diverge."""


def statements(
    pairs: Sequence[Pair], texts: Sequence[Text], options: OutputDivergenceOptions, tokenizer: Any
) -> list[str]:
    """What was read, how far each student or strategy differs, and where they first diverge."""
    return [
        _text_sentence(texts),
        *(_difference_sentence(group, options.smallest_effect) for group in shown(pairs)),
        *(_parting_sentence(group, options.threshold, tokenizer) for group in shown(pairs) if not group.alike),
    ]


def summary(pairs: Sequence[Pair], untrained: str, threshold: float | None) -> dict[str, Any]:
    """The table `output_divergence`, and the number of solutions in which each pair parts, for JSON."""
    return {
        "untrained": untrained,
        "divergence": clean(mean_rows(pairs)),
        "parted": [
            {"student": pair.student, "against": pair.against, "solutions": len(_parted([pair], threshold))}
            for pair in pairs
        ],
    }


def _text_sentence(texts: Sequence[Text]) -> str:
    solutions = sum(int(text.within(SOLUTION).sum()) for text in texts)
    total = sum(len(text.parts) for text in texts)
    its = "its gold solution" if len(texts) == 1 else "gold solutions"
    return (
        f"All students read the same text, {counted(len(texts), 'problem')} with {its}: {total:,} predicted "
        f"tokens, {solutions:,} of them in the solutions. Divergences are means per token."
    )


def _difference_sentence(group: Group, smallest: float) -> str:
    both = f"{_named(group)} and {group.against}"
    if group.alike:
        return f"{both}: no difference. Their next-token distributions are identical at every token."
    rows = {part: row for part in (*PARTS, SOLUTION) if (row := mean_row(group, "js", part))}
    whole = rows.pop(SOLUTION)
    measured = f"the Jensen-Shannon divergence on the gold solutions is {_value(whole)}"
    if kl := mean_row(group, "kl", SOLUTION) if "kl" in group.members[0].measures else None:
        measured += f", and KL({group.against} || {group.name}) is {_value(kl)}"
    largest = max(rows.values(), key=lambda row: row["value"])
    return (
        f"{both}: {measured}. {_outcome(whole, smallest)} Among the parts of the text, the divergence is largest in "
        f"{PHRASES[largest['part']]}: {_value(largest)}."
    )


def _outcome(row: dict[str, Any], smallest: float) -> str:
    limit = f"{smallest:g} nats"
    if row["problems"] < FEWEST_PROBLEMS:
        problems = f"{counted(row['problems'], 'problem')} {'is' if row['problems'] == 1 else 'are'}"
        return f"{problems} too few to tell whether the Jensen-Shannon divergence exceeds {limit}."
    interval = "whole interval of the Jensen-Shannon divergence is"
    if row["low"] >= smallest:
        return f"The {interval} above {limit}."
    if row["high"] < smallest:
        return f"The {interval} below {limit}."
    return f"The interval of the Jensen-Shannon divergence includes {limit}."


def _value(row: dict[str, Any]) -> str:
    interval = (
        f"{row['low']:.3g} to {row['high']:.3g}" if math.isfinite(row["low"]) else "too few problems for an interval"
    )
    return f"{row['value']:.3g} nats ({interval})"


def _parting_sentence(group: Group, threshold: float | None, tokenizer: Any) -> str:
    both = f"{_named(group)} and {group.against}"
    solutions = counted(len(group.members[0].texts), "gold solution")
    parted = _parted(group.members, threshold)
    if not parted:
        same = (
            "their greedy next tokens are the same throughout"
            if threshold is None
            else f"the Jensen-Shannon divergence never exceeds {threshold:g} nats"
        )
        return f"{both}: in {solutions}, {same}."
    differ = (
        "their greedy next tokens differ somewhere"
        if threshold is None
        else f"the Jensen-Shannon divergence exceeds {threshold:g} nats somewhere"
    )
    if group.combined:
        readings = sum(len(pair.texts) for pair in group.members)
        each = "" if readings == len(group.members) else "each "
        solutions = f"{readings} readings ({solutions}, {each}read by {len(group.members)} students)"
    first = min(parted, key=lambda parting: parting.position - parting.begin)
    before = tokenizer.decode(first.ids[max(first.begin, first.position - _CONTEXT) : first.position])
    where = f"after {before!r}" if before else "at its start"
    return (
        f"{both}: in {len(parted)} of {solutions}, {differ}. The earliest such token in a solution is in problem "
        f"{first.problem!r}, {where}: {_continuations(first, tokenizer)}."
    )


def _continuations(parting: Parting, tokenizer: Any) -> str:
    """The greedy next tokens of both; with a threshold, they may be the same."""
    against, student = (repr(tokenizer.decode([id_])) for id_ in (parting.against_token, parting.student_token))
    if parting.against_token == parting.student_token:
        return f"both continue with {against}"
    if against == student:
        # Parts of characters, for example, are all decoded to the same replacement.
        against, student = f"{against} (token {parting.against_token})", f"{student} (token {parting.student_token})"
    return f"{parting.pair.against} continues with {against}, {parting.pair.student} with {student}"


def _parted(pairs: Sequence[Pair], threshold: float | None) -> list[Parting]:
    return [
        parting
        for pair in pairs
        for parting in partings(pair, threshold)
        if parting.within == SOLUTION and parting.parted
    ]


def _named(group: Group) -> str:
    return f"{group.name} ({len(group.members)} seeds)" if group.combined else group.name
