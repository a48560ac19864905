"""What a run's own record says against its results, and how far they reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from kdprobe.comparison.finding import Finding
from kdprobe.comparison.findings import excerpts
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.foresight.evidence import few_seeds
from kdprobe.problems.overlap import overlaps
from kdprobe.problems.problem import Problem

_SHOWN = 3
_MOVED = 1e-6
"""An update's norm above float32 noise."""
_BARELY = 1e-4
"""Relative change of the trained weights; a LoRA training that teaches something makes some 1e-3 to 1e-2."""


def audit(arms: Sequence[ArmResults], record: dict[str, Any]) -> list[Finding]:
    """Findings about what a run's arms learnt, and from what.

    Args:
        arms: All arms.
        record: The run's record.
    """
    lost = [arm for arm in arms if arm.absence]
    arms = [arm for arm in arms if not arm.absence]
    return [
        *_not_finite("diverged", [arm for arm in lost if arm.diverged]),
        *_not_finite("overflowed", [arm for arm in lost if arm.overflowed]),
        *_unmoved(arms),
        *_misaligned(arms),
        *_unmatched(arms),
        *_untaught_ends(arms),
        *_foreign_prompts(record),
        *_changed_prompts(arms, record),
        *_served_prompts(arms),
        *_contamination(record),
        *few_seeds((arm.strategy, arm.seed) for arm in arms),
    ]


def scope(record: dict[str, Any]) -> list[str]:
    """How far a run's results reach: sentences for its verdict.

    Args:
        record: The run's record.
    """
    transfer, test = _problems(record)
    templates = {problem.group for problem in transfer if problem.group}
    seen = [problem for problem in test if problem.group in templates]
    if not seen:
        return []
    shared = len({problem.group for problem in seen})
    sentence = f"{len(seen)} of {len(test)} test problems are from templates that students learnt from ({shared})"
    return [f"{sentence}: there the figures speak of new numbers, not of new kinds of problems."]


def _not_finite(what: str, arms: Sequence[ArmResults]) -> list[Finding]:
    """Trainings that came to no student, and evaluations that came to no answers."""
    if not arms:
        return []
    described = "; ".join(f"{arm.name} {arm.absence}" for arm in arms)
    hints = dict.fromkeys(str((arm.diverged or arm.overflowed or {}).get("hint")) for arm in arms)
    action = f"{' '.join(hints)} Comparisons with these arms are absent; seeds that {what} count for no strategy."
    return [Finding(what, described, action)]


def _unmoved(arms: Sequence[ArmResults]) -> list[Finding]:
    """Adapters that are where they began, or nearly."""
    trained = [(arm.name, arm.training) for arm in arms if arm.training]
    unmoved = [name for name, training in trained if training["adapter_norm"] < _MOVED]
    shares = {name: training.get("relative_change") for name, training in trained if name not in unmoved}
    barely = [f"{name} {share:.0e}" for name, share in shares.items() if share is not None and share < _BARELY]
    findings = []
    if unmoved:
        evidence = f"Adapters whose update has norm 0: {', '.join(unmoved)}."
        action = "Raise the learning rate or train longer; these arms are the untrained student."
        findings.append(Finding("adapter-did-not-move", evidence, action))
    if barely:
        evidence = f"Trained weights changed by a tiny share of themselves: {', '.join(barely)}."
        action = "Raise the learning rate or train longer; these arms are nearly the untrained student."
        findings.append(Finding("adapter-barely-moved", evidence, action))
    return findings


def _misaligned(arms: Sequence[ArmResults]) -> list[Finding]:
    """Positions that do not predict their own next token, and teacher's rows that belong elsewhere."""
    alignments = {arm.name: arm.training["alignment"] for arm in arms if arm.training and arm.training.get("alignment")}
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
    for code, share, description, action in kinds:
        shares = {name: alignment[share] for name, alignment in alignments.items()}
        wrong = {name: value for name, value in shares.items() if value is not None and value < 1}
        if wrong:
            counts = ", ".join(f"{name} {value:.1%}" for name, value in wrong.items())
            findings.append(Finding(code, f"Share of {description}: {counts}; it should be 100 %.", action))
    return findings


def _untaught_ends(arms: Sequence[ArmResults]) -> list[Finding]:
    """Students that were not taught where to stop."""
    counts = {arm.name: (arm.training or {}).get("responses_without_end") for arm in arms}
    named = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    if not named:
        return []
    evidence = f"Finished answers without a token that ends them, which students learnt from: {named}."
    action = "Use a teacher that gives the end of its turn as a token, or expect students that do not stop."
    return [Finding("untaught-end", evidence, action)]


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


def _contamination(record: dict[str, Any]) -> list[Finding]:
    """Test problems that students learnt from. Likeness within one template is scope, not a fault."""
    transfer, test = _problems(record)
    overlapping = [overlap for overlap in overlaps(transfer, test) if not overlap.within_group]
    if not overlapping:
        return []
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(overlap.kind for overlap in overlapping).items())
    examples = ", ".join(f"{overlap.test} is like {overlap.transfer}" for overlap in overlapping[:_SHOWN])
    evidence = f"{len(overlapping)} of {len(test)} test problems overlap with transfer problems ({kinds}): {examples}"
    more = " and more." if len(overlapping) > _SHOWN else "."
    return [Finding("contamination", evidence + more, "Leave them out of the test, or out of the transfer set.")]


def _problems(record: dict[str, Any]) -> tuple[list[Problem], list[Problem]]:
    problems = record["problems"]
    return [Problem(**row) for row in problems["transfer"]], [Problem(**row) for row in problems["test"]]


def _changed_prompts(arms: Sequence[ArmResults], record: dict[str, Any]) -> list[Finding]:
    """Students that were tested with another form of prompt than they were trained on, as both were recorded."""
    bare = {strategy for strategy, pair in record["conversations"].items() if pair["bare"]}
    changed = []
    for arm in arms:
        trained, tested = (arm.training or {}).get("prompt_form"), _tested_form(arm)
        if (arm.strategy is None or arm.strategy in bare) and trained and tested and trained != tested:
            before, after = excerpts([trained, tested])
            changed.append(f"{arm.name}: trained on {before}, tested on {after}")
    if not changed:
        return []
    action = "Run the experiment again with one [conversation]; these scores measure the change of prompt."
    return [Finding("prompt-changed", f"Prompts changed between training and test: {'; '.join(changed)}.", action)]


def _tested_form(arm: ArmResults) -> str | None:
    conditions = next((record.get("conditions") for record in arm.records), None) or {}
    form = (conditions.get("prompt") or {}).get("form")
    return None if form is None else str(form)


def _served_prompts(arms: Sequence[ArmResults]) -> list[Finding]:
    """Teachers whose server read other prompts than the chat template that kdprobe knows makes."""
    fidelities = {arm.strategy: arm.fidelity for arm in arms if arm.fidelity and arm.fidelity.get("returned_prompts")}
    unlike = [
        f"{strategy} {fidelity['prompts_unlike_template']} of {fidelity['returned_prompts']}"
        for strategy, fidelity in fidelities.items()
        if fidelity["prompts_unlike_template"]
    ]
    if not unlike:
        return []
    evidence = f"Prompts that the server read and the tokenizer's chat template does not make: {', '.join(unlike)}."
    action = "Look at prompts.parquet: the server has another template, other arguments, or the date of its own clock."
    return [Finding("server-prompt", evidence, action)]


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
