"""What a run's own record says against its figures: training that was not what it seems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdprobe.evaluation.comparison import Finding

if TYPE_CHECKING:
    from kdprobe.experiment.results import ArmResults

_MOVED = 1e-6
"""An update's norm above float32 noise."""
_BARELY = 1e-4
"""Relative change of the trained weights; a LoRA training that teaches something makes some 1e-3 to 1e-2."""


def audit(arms: Sequence[ArmResults], record: dict[str, Any]) -> list[Finding]:
    """Findings about the training of a run's arms.

    Args:
        arms: All arms.
        record: The run's record.
    """
    return [
        *_unmoved(arms),
        *_misaligned(arms),
        *_unmatched(arms),
        *_foreign_prompts(record),
    ]


def _unmoved(arms: Sequence[ArmResults]) -> list[Finding]:
    """Adapters that are where they began, or nearly."""
    trained = [(arm.name, arm.training) for arm in arms if arm.training]
    still = [name for name, training in trained if training["adapter_norm"] < _MOVED]
    shares = {name: training.get("relative_change") for name, training in trained if name not in still}
    barely = [f"{name} {share:.0e}" for name, share in shares.items() if share is not None and share < _BARELY]
    findings = []
    if still:
        evidence = f"Adapters whose update has norm 0: {', '.join(still)}."
        action = "Raise the learning rate or train longer; these arms are the untrained student."
        findings.append(Finding("adapter-did-not-move", evidence, action))
    if barely:
        evidence = f"Trained weights changed by a tiny share of themselves: {', '.join(barely)}."
        action = "Raise the learning rate or train longer; these arms are nearly the untrained student."
        findings.append(Finding("adapter-barely-moved", evidence, action))
    return findings


def _misaligned(arms: Sequence[ArmResults]) -> list[Finding]:
    """Positions that do not predict their own next token, and teacher's rows that belong elsewhere."""
    looked_at = {arm.name: arm.training["alignment"] for arm in arms if arm.training and arm.training.get("alignment")}
    kinds = [
        (
            "misaligned-positions",
            "own_next_token",
            "training positions whose label is the token that follows in what the student reads",
            "Shift the labels by one, and let the student read the very answer that it is to learn.",
        ),
        (
            "misaligned-tokens",
            "same_token",
            "the teacher's rows that speak of the student's label",
            "Take the teacher's rows over the answer, not over its prompt.",
        ),
        (
            "misaligned-problems",
            "own_problem",
            "the teacher's rows that were given for the student's problem",
            "Look the teacher's rows up by the problem's id, never by its place in a file.",
        ),
    ]
    findings = []
    for code, share, what, action in kinds:
        shares = {name: figures[share] for name, figures in looked_at.items()}
        wrong = {name: value for name, value in shares.items() if value is not None and value < 1}
        if wrong:
            counts = ", ".join(f"{name} {value:.1%}" for name, value in wrong.items())
            findings.append(Finding(code, f"Share of {what}: {counts}; it should be 100 %.", action))
    return findings


def _unmatched(arms: Sequence[ArmResults]) -> list[Finding]:
    """Strategies whose students learnt from different problems because answers were filtered."""
    problems = {arm.strategy: {problem for problem, _ in arm.kept} for arm in arms if arm.kept is not None}
    if len(set(map(frozenset, problems.values()))) <= 1:
        return []
    shared = set.intersection(*problems.values())
    counts = ", ".join(f"{strategy} {len(kept)}" for strategy, kept in problems.items())
    return [
        Finding(
            "unmatched-filter",
            f"Students learnt from different problems: {counts}, {len(shared)} of them shared by all.",
            'Set transfer.filter = "matched", or the choice of problems passes for the effect of the prompt.',
        )
    ]


def _foreign_prompts(record: dict[str, Any]) -> list[Finding]:
    return [
        Finding(
            "student-prompt",
            f"{strategy}: students are trained on another prompt than the bare question they are tested on.",
            "Let the strategy leave the student's side bare.",
        )
        for strategy, pair in record["conversations"].items()
        if not pair["bare"]
    ]
