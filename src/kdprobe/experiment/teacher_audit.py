"""Findings about the answers of a run's teachers, from the run's record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdprobe.comparison.finding import Finding
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.words import counted, these

_SHARE = 0.05
"""The share of answers above which answers cut off, or thinking that never ended, are worth a finding; and the share of
correct answers below which a teacher's errors are.
"""
_SHOWN = 3


def teacher_findings(arms: Sequence[ArmResults]) -> list[Finding]:
    """Answers that are cut off, wrong or empty, and thinking that is not taught or never ended."""
    measured = {arm.strategy: arm.fidelity for arm in arms if arm.strategy and arm.fidelity}
    findings = []
    # Earlier versions did not record these.
    untaught = [_untaught(strategy, summary) for strategy, summary in measured.items() if summary.get("untaught")]
    if untaught:
        lost = {problem for summary in measured.values() for problem in summary.get("untaught", ())}
        action = (
            f"Raise the budget, or remove {these(len(lost), 'problem')}; otherwise students of different strategies "
            "may be trained on different problems."
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
        action = (
            "Raise transfer.max_new_tokens: these answers contain only thinking, and students would learn to produce "
            "only that."
        )
        findings.append(Finding("unclosed-teaching", f"Teacher answers whose thinking never ended: {shares}.", action))
    # Those with unending thinking are also cut off, and have been reported already.
    cut = {strategy: summary["cut_off"] for strategy, summary in measured.items() if unclosed[strategy] <= _SHARE}
    if shares := _over(cut, _SHARE):
        action = "Raise transfer.max_new_tokens; otherwise students learn from truncated answers."
        findings.append(Finding("cut-off-teaching", f"Teacher answers cut off at the budget: {shares}.", action))
    # With a filter, students are trained on correct answers only.
    unfiltered = {arm.strategy for arm in arms if arm.kept is None}
    right = {strategy: summary["accuracy"] for strategy, summary in measured.items() if strategy in unfiltered}
    if low := {strategy: share for strategy, share in right.items() if share < _SHARE}:
        action = (
            "If the other answers are cut off, raise transfer.max_new_tokens; if they are wrong, choose a better "
            'teacher or set transfer.filter = "correct". Otherwise students learn from wrong answers.'
        )
        evidence = f"Few of the teacher's answers are correct: {_listed(low)}."
        findings.append(Finding("wrong-teaching", evidence, action))
    return findings


def _untaught(strategy: str, summary: Mapping[str, Any]) -> str:
    problems = summary["untaught"]
    others = {reason: count for reason, count in summary["ended"].items() if reason != "stop"}
    ended = [f"{counted(count, 'answer')} with finish_reason {reason!r}" for reason, count in others.items()]
    named = ", ".join([*problems[:_SHOWN], *(["others"] if len(problems) > _SHOWN else [])])
    return f"{strategy} {len(problems)} of {summary['responses']} ({'; '.join([named, *ended])})"


def _over(shares: dict[str, float], least: float) -> str:
    return _listed({strategy: share for strategy, share in shares.items() if share > least})


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{strategy} {share:.1%}" for strategy, share in shares.items())
