"""The tables of `contrast`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from kdprobe.probing.contrast.measured import (
    MEASURES,
    ContrastedStudent,
    Group,
    Measure,
    strategies_of,
    students_of,
)
from kdprobe.probing.contrast.pairs import ContrastPair
from kdprobe.probing.contrast.sites import NO_HEAD, Site
from kdprobe.probing.outputs.differences.tables import BOTH, PROBLEMS


def contrast_tables(
    untrained: ContrastedStudent, students: Sequence[ContrastedStudent], tokenizer: Any, seed: int
) -> dict[str, pd.DataFrame]:
    """Means with intervals, differences from the untrained model, every pair's effects, and the pairs.

    Args:
        untrained: The untrained model.
        students: All others.
        tokenizer: The tokenizer of all students.
        seed: Seed of the permutations.
    """
    everyone = [untrained, *students]
    groups = [*students_of(everyone), *strategies_of(students)]
    compared = [*students_of(students, untrained), *strategies_of(students, untrained)]
    tables = {
        "contrast": _frame(
            {"student": group.name, **row}
            for group in groups
            for measure in MEASURES
            for row in mean_rows(group, measure)
        ),
        "contrast_change": _frame(
            {"student": group.name, "against": untrained.student, **row}
            for group in compared
            for measure in MEASURES
            for row in change_rows(group, measure, seed)
        ),
        "contrast_by_problem": _frame(row for student in everyone for row in _pair_rows(student)),
        "contrast_runs": _frame(row for student in everyone for row in _run_rows(student)),
        "contrast_pairs": _frame(_text_row(pair, tokenizer) for pair in untrained.pairs),
    }
    return {name: table for name, table in tables.items() if len(table)}


def mean_rows(group: Group, measure: Measure) -> Iterator[dict[str, Any]]:
    """A row per site that at least one of the problems has."""
    for site, (mean, over_templates, problems) in zip(group.sites, group.means(measure), strict=True):
        if problems:
            yield {
                **_site(site),
                "measure": measure,
                "value": mean.value,
                "low": mean.interval.low,
                "high": mean.interval.high,
                "over": BOTH if group.combined else PROBLEMS,
                "low_over_templates": over_templates.interval.low,
                "high_over_templates": over_templates.interval.high,
                "standard_error": mean.error,
                "seeds": len(group.members),
                "problems": problems,
            }


def change_rows(group: Group, measure: Measure, seed: int) -> Iterator[dict[str, Any]]:
    """A row per site that is tested, of the student's effects minus the untrained model's."""
    p = {tuple(_site(site).values()): value for site, value in zip(group.sites, group.p(measure, seed), strict=True)}
    for row in mean_rows(group, measure):
        value = float(p[row["kind"], row["layer"], row["head"], row["part"]])
        if value == value:  # noqa: PLR0124 - not NaN
            yield {**row, "p_over_problems": value}


def _frame(rows: Iterator[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows))
    if "head" in frame:
        frame["head"] = frame["head"].where(frame["head"] != NO_HEAD).astype("Int64")
    return frame


def _site(site: Site) -> dict[str, Any]:
    return {"kind": site.kind, "layer": site.layer, "head": site.head, "part": site.part}


def _pair_rows(student: ContrastedStudent) -> Iterator[dict[str, Any]]:
    shares = student.values("effect")
    for row, pair in enumerate(student.pairs):
        for column, site in enumerate(student.sites):
            if pair.within(site.part).any():
                yield {
                    "student": student.student,
                    "problem": pair.id,
                    **_site(site),
                    "effect": shares[row, column] if student.tells_apart[row] else float("nan"),
                    "nats": student.nats[row, column],
                }


def _run_rows(student: ContrastedStudent) -> Iterator[dict[str, Any]]:
    for pair, clean, other, apart in zip(student.pairs, student.clean, student.other, student.tells_apart, strict=True):
        yield {
            "student": student.student,
            "problem": pair.id,
            "clean": clean,
            "counterfactual": other,
            "tells_apart": bool(apart),
        }


def _text_row(pair: ContrastPair, tokenizer: Any) -> dict[str, Any]:
    return {
        "problem": pair.id,
        "template": pair.group,
        "tokens": len(pair.clean),
        "differing_tokens": int(pair.differing.sum()),
        "clean_answer": tokenizer.decode([pair.answers[0]]),
        "counterfactual_answer": tokenizer.decode([pair.answers[1]]),
        "clean_text": tokenizer.decode(pair.clean),
        "counterfactual_text": tokenizer.decode(pair.other),
    }
