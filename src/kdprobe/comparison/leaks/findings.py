"""Findings about traces of the priming in students' answers."""

from __future__ import annotations

from collections.abc import Sequence

from kdprobe.comparison.finding import Finding
from kdprobe.comparison.leaks.phrases import Kind
from kdprobe.comparison.leaks.result import LeakAudit, LeakRate
from kdprobe.stats.least import FEWEST_SEEDS
from kdprobe.stats.p_values import p_text
from kdprobe.words import counted

CODES: dict[Kind, tuple[str, str]] = {
    "hedging": ("leaked-hedging", "hedge"),
    "self-correction": ("leaked-self-correction", "correct themselves or say that they will check"),
    "hint": ("leaked-hint", "talk about an answer or instructions that the student never saw"),
    "quote": ("leaked-priming", "quote the priming, which the student never saw"),
}
"""The code of each kind's finding, and what the answers do."""
_LEAST = 0.001
"""The smallest share of the teacher's answers that is given in digits."""


def leak_findings(audit: LeakAudit | None) -> list[Finding]:
    """Finds arms whose answers show a kind of trace significantly more often than the unprimed ones."""
    if audit is None:
        return []
    findings = []
    for kind, (code, action) in CODES.items():
        found = [rate for rate in audit.rates if rate.kind == kind and rate.significant]
        if found:
            searched = " (only the first to each problem was searched)" if audit.only_first else ""
            evidence = f"Some answers{searched} {action}: {' '.join(map(_evidence, found))}"
            findings.append(Finding(code, evidence, _action(found)))
    return findings


def leak_sentences(audit: LeakAudit | None) -> list[str]:
    """The same for a verdict: a sentence for each arm."""
    found: dict[tuple[str, str | None], list[str]] = {}
    for rate in audit.rates if audit else []:
        if rate.significant and rate.test:
            points = f"{rate.kind} {rate.test.difference * 100:+.1f} points"
            found.setdefault((rate.name, rate.against), []).append(points)
    answers, each = ("The first answers", " to each problem") if audit and audit.only_first else ("Answers", "")
    return [
        f"{answers} of {name!r}{each} show traces of priming more often than those of {against!r}: {', '.join(points)}."
        for (name, against), points in found.items()
    ]


def _evidence(rate: LeakRate) -> str:
    test = rate.test
    assert test is not None  # noqa: S101 - significant rates were tested
    over = f"{counted(test.seeds, 'seed')}, {counted(test.n, 'problem')}"
    low, high = test.interval.low * 100, test.interval.high * 100
    interval = f"95% CI {low:+.1f} to {high:+.1f}, " if test.interval.known else ""
    measured = (
        f"{rate.name} {test.rate_a:.1%}, {rate.against} {test.rate_b:.1%} ({test.difference * 100:+.1f} points, "
        f"{interval}Holm-adjusted p = {p_text(rate.p_holm or 0.0)}, {over})."
    )
    examples = "; ".join(f"{example.problem}: “{example.text}”" for example in rate.examples)
    return f"{measured} For example, in the student's answers: {examples}.{_teacher(rate.teacher)}"


def _teacher(share: float | None) -> str:
    if share is None:
        return ""
    if not share:
        return " None of the teacher's own answers do so."
    return (
        f" Of the teacher's own answers, {f'{share:.1%}' if share >= _LEAST else f'less than {_LEAST:.1%}'} do so too."
    )


def _action(found: Sequence[LeakRate]) -> str:
    few = any(rate.test and rate.test.seeds < FEWEST_SEEDS for rate in found if rate.teacher is not None)
    alone = (
        f" With fewer than {FEWEST_SEEDS} seeds, this result describes these students; to show it for the strategy, "
        "train more seeds."
        if few
        else ""
    )
    primed = any(rate.teacher for rate in found)
    remove = "Change the priming, or remove the teacher's answers with this trace from the transfer set"
    return f"{remove if primed else 'Read these answers'}, and report the rates with the accuracies.{alone}"
