"""Findings about the answers of a run's teachers, from the run's record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdprobe.comparison.finding import Finding
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.words import counted

_SHARE = 0.05
"""The share of answers above which thinking that never ended is worth a finding."""
_SHOWN = 3


def teacher_findings(arms: Sequence[ArmResults]) -> list[Finding]:
    """Answers without anything to train on, and thinking that is not taught or never ended."""
    measured = {arm.strategy: arm.fidelity for arm in arms if arm.strategy and arm.fidelity}
    findings = []
    # Earlier versions did not record these.
    untaught = [_untaught(strategy, summary) for strategy, summary in measured.items() if summary.get("untaught")]
    if untaught:
        action = (
            "Raise the budget, or remove these problems; otherwise students of different strategies may be trained on "
            "different problems."
        )
        evidence = f"Teacher answers without anything to train on: {'; '.join(untaught)}."
        findings.append(Finding("untaught-answers", evidence, action))
    dropped = {strategy: summary.get("dropped_thinking", 0.0) for strategy, summary in measured.items()}
    if shares := _over(dropped, 0.0):
        action = (
            'Set teacher.options.reasoning = "prepend" to teach it, or report that students learn only the answers.'
        )
        evidence = f"Teacher answers whose thinking is not taught to students: {shares}."
        findings.append(Finding("dropped-thinking", evidence, action))
    unclosed = {strategy: summary.get("unclosed_thinking", 0.0) for strategy, summary in measured.items()}
    if shares := _over(unclosed, _SHARE):
        action = "Raise transfer.max_new_tokens: these have no answer, and students would learn to think without end."
        findings.append(Finding("unclosed-teaching", f"Teacher answers whose thinking never ended: {shares}.", action))
    return findings


def _untaught(strategy: str, summary: Mapping[str, Any]) -> str:
    problems = summary["untaught"]
    others = {reason: count for reason, count in summary["ended"].items() if reason != "stop"}
    ended = [f"{counted(count, 'answer')} with finish_reason {reason!r}" for reason, count in others.items()]
    named = ", ".join([*problems[:_SHOWN], *(["others"] if len(problems) > _SHOWN else [])])
    return f"{strategy} {len(problems)} of {summary['responses']} ({'; '.join([named, *ended])})"


def _over(shares: dict[str, float], least: float) -> str:
    return ", ".join(f"{strategy} {share:.1%}" for strategy, share in shares.items() if share > least)
