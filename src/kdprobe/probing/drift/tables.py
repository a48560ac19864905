"""The tables of `drift`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from kdprobe.probing.drift.measured import Measured, difference, strategies, strategy_difference, strategy_mean
from kdprobe.probing.drift.prompts import KINDS
from kdprobe.probing.drift.sampling import Sample
from kdprobe.stats.clustered import ClusteredMean

PROMPTS, BOTH = "prompts", "seeds and prompts"
"""What an interval is over."""
DIRECTIONS = ("forward", "reverse")


def drift_tables(
    measured: Sequence[Measured], written: Mapping[str, Sequence[Sample]], untrained: str, tokenizer: Any
) -> dict[str, pd.DataFrame]:
    """Means with intervals, differences between students, every sample's divergence, and the text.

    Args:
        measured: The measurements.
        written: The samples of every model, the untrained one included.
        untrained: The untrained model's name.
        tokenizer: Its tokenizer.
    """
    tables = {
        "drift": pd.DataFrame(drift_rows(measured, untrained)),
        "drift_pairs": pd.DataFrame(pair_rows(measured)),
        "drift_samples": pd.DataFrame([row for each in measured for row in _sample_rows(each)]),
        "drift_texts": pd.DataFrame([row for name in written for row in _text_rows(name, written[name], tokenizer)]),
    }
    return {name: table for name, table in tables.items() if len(table)}


def drift_rows(measured: Sequence[Measured], untrained: str) -> list[dict[str, Any]]:
    """A row per student, direction and kind of prompt; and one per strategy with at least three seeds."""
    rows = [_drift_row(each.student, [each], each.mean, untrained, over=PROMPTS, noise=each.noise) for each in measured]
    for cell in _cells(measured):
        for arm, members in strategies(cell).items():
            rows.append(_drift_row(arm, members, strategy_mean(members), untrained, over=BOTH, noise=float("nan")))
    return rows


def pair_rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """The difference for each pair of students, and of strategies with at least three seeds, on the shared text."""
    rows = []
    for cell in _cells([each for each in measured if each.direction == "forward"]):
        for a, b in combinations(cell, 2):
            rows.append(_pair_row(a.student, b.student, difference(a, b), cell[0], over=PROMPTS))
        for (a_name, a_members), (b_name, b_members) in combinations(strategies(cell).items(), 2):
            found = strategy_difference(a_members, b_members)
            rows.append(_pair_row(a_name, b_name, found, cell[0], over=BOTH))
    return rows


def _cells(measured: Sequence[Measured]) -> Iterator[list[Measured]]:
    """The measurements of all students in one direction, on one kind of prompt."""
    for direction in DIRECTIONS:
        for kind in KINDS:
            if cell := [each for each in measured if (each.direction, each.kind) == (direction, kind)]:
                yield cell


def _drift_row(
    name: str, members: Sequence[Measured], mean: ClusteredMean, untrained: str, *, over: str, noise: float
) -> dict[str, Any]:
    samples = [sample for each in members for sample in each.samples]
    return {
        "student": name,
        "against": untrained,
        "direction": members[0].direction,
        "text": members[0].kind,
        "value": mean.value,
        # A divergence is never below 0.
        "low": max(0.0, mean.interval.low) if mean.interval.known else mean.interval.low,
        "high": mean.interval.high,
        "over": over,
        "standard_error": mean.error,
        "sampling_error": noise,
        "seeds": len(members),
        "prompts": members[0].prompts,
        "samples": len(samples),
        "tokens": sum(len(sample.tokens) for sample in samples),
        "cut_off": sum(not sample.finished for sample in samples),
        "empty": sum(sample.empty for sample in samples),
    }


def _pair_row(a: str, b: str, found: ClusteredMean, cell: Measured, *, over: str) -> dict[str, Any]:
    return {
        "student": a,
        "against": b,
        "text": cell.kind,
        "value": found.value,
        "low": found.interval.low,
        "high": found.interval.high,
        "over": over,
        "standard_error": found.error,
        "prompts": cell.prompts,
        "tokens": int(cell.lengths.sum()),
    }


def _sample_rows(measured: Measured) -> Iterator[dict[str, Any]]:
    for sample, total in zip(measured.samples, measured.sums.tolist(), strict=True):
        yield {
            "student": measured.student,
            "direction": measured.direction,
            "text": measured.kind,
            "prompt": sample.prompt.id,
            "sample": sample.index,
            "value": total / len(sample.tokens),
            "tokens": len(sample.tokens),
            "cut_off": not sample.finished,
            "empty": sample.empty,
        }


def _text_rows(name: str, samples: Sequence[Sample], tokenizer: Any) -> Iterator[dict[str, Any]]:
    for sample in samples:
        yield {
            "writer": name,
            "text": sample.prompt.kind,
            "prompt": sample.prompt.id,
            "sample": sample.index,
            "request": sample.prompt.text,
            "written": tokenizer.decode(sample.tokens, skip_special_tokens=True),
            "token_ids": " ".join(map(str, sample.tokens)),
            "tokens": len(sample.tokens),
            "cut_off": not sample.finished,
            "empty": sample.empty,
        }
