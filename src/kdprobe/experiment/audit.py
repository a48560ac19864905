"""Warnings that follow from a run's own record, and how far its results reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from kdprobe.comparison.finding import Finding
from kdprobe.comparison.findings import excerpts
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.foresight.evidence import SEED_CODES, few_seeds
from kdprobe.problems.overlap import overlaps
from kdprobe.problems.problem import Problem
from kdprobe.words import counted, these

_SHOWN = 3
_MOVED = 1e-6
"""An update's norm above float32 noise."""
_BARELY = 1e-4
"""Relative change in the trained weights; LoRA training that teaches something changes them by 1e-3 to 1e-2."""


def audit(arms: Sequence[ArmResults], record: dict[str, Any]) -> list[Finding]:
    """Findings about what a run's arms learned, and from what.

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
        *_planned(record),
    ]


def _planned(record: dict[str, Any]) -> list[Finding]:
    """The findings known before the run started, except those about seeds, which are counted again in the results."""
    return [Finding(**finding) for finding in record.get("findings", []) if finding["code"] not in SEED_CODES]


def scope(record: dict[str, Any]) -> list[str]:
    """How far a run's results reach, as sentences for its verdict.

    Args:
        record: The run's record.
    """
    transfer, test = _problems(record)
    templates = {problem.group for problem in transfer if problem.group}
    seen = [problem for problem in test if problem.group in templates]
    if not seen:
        return []
    shared = len({problem.group for problem in seen})
    come = f"{'comes' if len(seen) == 1 else 'come'} from {counted(shared, 'template')}"
    counts = f"All {len(test)}" if 1 < len(seen) == len(test) else f"{len(seen)} of {len(test)}"
    sentence = f"{counts} test problems {come} that the students were also trained on"
    return [f"{sentence}, so the results show generalisation to new numbers, not to new kinds of problem."]


def _not_finite(what: str, arms: Sequence[ArmResults]) -> list[Finding]:
    """Training runs that produced no student, and evaluations that produced no answers."""
    if not arms:
        return []
    described = " ".join(f"{arm.name} {arm.absence}" for arm in arms)
    hints = dict.fromkeys(str((arm.diverged or arm.overflowed or {}).get("hint")) for arm in arms)
    excluded = f"Comparisons exclude {these(len(arms), 'arm')}, and comparisons of strategies exclude"
    action = f"{' '.join(hints)} {excluded} every seed that {what}."
    return [Finding(what, described, action)]


def _unmoved(arms: Sequence[ArmResults]) -> list[Finding]:
    """Adapters that training did not change, or barely changed."""
    trained = [(arm.name, arm.training) for arm in arms if arm.training]
    unmoved = [name for name, training in trained if training["adapter_norm"] < _MOVED]
    shares = {name: training.get("relative_change") for name, training in trained if name not in unmoved}
    barely = [f"{name} {share:.0e}" for name, share in shares.items() if share is not None and share < _BARELY]
    findings = []
    if unmoved:
        evidence = f"Adapters whose update has norm 0: {', '.join(unmoved)}."
        are = f"{these(len(unmoved), 'arm')} {'is' if len(unmoved) == 1 else 'are'}"
        action = f"Raise the learning rate or train longer; {are} identical to the untrained student."
        findings.append(Finding("adapter-did-not-move", evidence, action))
    if barely:
        evidence = f"The trained weights hardly changed (relative change): {', '.join(barely)}."
        are = f"{these(len(barely), 'arm')} {'is' if len(barely) == 1 else 'are'}"
        action = f"Raise the learning rate or train longer; {are} nearly identical to the untrained student."
        findings.append(Finding("adapter-barely-moved", evidence, action))
    return findings


def _misaligned(arms: Sequence[ArmResults]) -> list[Finding]:
    """Positions whose label is not the next token, and teacher rows that belong to a different token or problem."""
    alignments = {arm.name: arm.training["alignment"] for arm in arms if arm.training and arm.training.get("alignment")}
    kinds = [
        (
            "misaligned-positions",
            "own_next_token",
            "training positions whose label is the next token of the student's input",
            "Shift the labels by one, and make the student's input contain the answer it is trained on.",
        ),
        (
            "misaligned-tokens",
            "same_token",
            "teacher distributions that predict the same token as the student's label",
            "Take the teacher's distributions from the positions of the answer, not of the prompt.",
        ),
        (
            "misaligned-problems",
            "own_problem",
            "teacher distributions that belong to the student's problem",
            "Look up the teacher's rows by problem id, not by position in a file.",
        ),
    ]
    findings = []
    for code, share, description, action in kinds:
        shares = {name: alignment[share] for name, alignment in alignments.items()}
        wrong = {name: value for name, value in shares.items() if value is not None and value < 1}
        if wrong:
            counts = ", ".join(f"{name} {value:.1%}" for name, value in wrong.items())
            findings.append(Finding(code, f"Share of {description}: {counts}; it should be 100%.", action))
    return findings


def _untaught_ends(arms: Sequence[ArmResults]) -> list[Finding]:
    """Students that were not taught where to stop."""
    counts = {arm.name: (arm.training or {}).get("responses_without_end") for arm in arms}
    named = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    if not named:
        return []
    evidence = f"Some of the finished answers used for training have no end token (count per arm): {named}."
    action = "Use a teacher that returns its end-of-turn token; otherwise students may not stop."
    return [Finding("untaught-end", evidence, action)]


def _unmatched(arms: Sequence[ArmResults]) -> list[Finding]:
    """Strategies whose students were trained on different problems because answers were filtered."""
    problems = {arm.strategy: {problem for problem, _ in arm.kept} for arm in arms if arm.kept is not None}
    if len(set(map(frozenset, problems.values()))) <= 1:
        return []
    shared = set.intersection(*problems.values())
    counts = ", ".join(f"{strategy} {len(kept)}" for strategy, kept in problems.items())
    return [
        Finding(
            "unmatched-filter",
            f"Students were trained on different sets of problems: {counts}; {len(shared)} in common.",
            'Set transfer.filter = "matched"; otherwise the choice of problems is confounded with the prompt.',
        )
    ]


def _contamination(record: dict[str, Any]) -> list[Finding]:
    """Test problems that students were trained on. Similarity within one template is a matter of scope, not a fault."""
    transfer, test = _problems(record)
    overlapping = [overlap for overlap in overlaps(transfer, test) if not overlap.within_group]
    if not overlapping:
        return []
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(overlap.kind for overlap in overlapping).items())
    examples = ", ".join(f"{overlap.test} resembles {overlap.transfer}" for overlap in overlapping[:_SHOWN])
    overlap = "overlaps" if len(overlapping) == 1 else "overlap"
    shown = f"for example, {examples}" if len(overlapping) > _SHOWN else examples
    evidence = f"{len(overlapping)} of {len(test)} test problems {overlap} with transfer problems ({kinds}): {shown}."
    return [Finding("contamination", evidence, "Remove one problem of each overlapping pair.")]


def _problems(record: dict[str, Any]) -> tuple[list[Problem], list[Problem]]:
    problems = record["problems"]
    return [Problem(**row) for row in problems["transfer"]], [Problem(**row) for row in problems["test"]]


def _changed_prompts(arms: Sequence[ArmResults], record: dict[str, Any]) -> list[Finding]:
    """Students tested with a different form of prompt from the one they were trained on, according to the records."""
    bare = {strategy for strategy, pair in record["conversations"].items() if pair["bare"]}
    changed = []
    for arm in arms:
        trained, tested = (arm.training or {}).get("prompt_form"), _tested_form(arm)
        if (arm.strategy is None or arm.strategy in bare) and trained and tested and trained != tested:
            before, after = excerpts([trained, tested], quoted=True)
            changed.append(f"{arm.name}: trained on {before}, tested on {after}")
    if not changed:
        return []
    action = (
        "Run the experiment again with the same [conversation] settings for training and test; these scores also "
        "reflect the change in prompt."
    )
    return [Finding("prompt-changed", f"Prompts changed between training and test: {'; '.join(changed)}.", action)]


def _tested_form(arm: ArmResults) -> str | None:
    conditions = next((record.get("conditions") for record in arm.records), None) or {}
    form = (conditions.get("prompt") or {}).get("form")
    return None if form is None else str(form)


def _served_prompts(arms: Sequence[ArmResults]) -> list[Finding]:
    """Teachers whose server read prompts that differ from those of the chat template known to kdprobe."""
    fidelities = {arm.strategy: arm.fidelity for arm in arms if arm.fidelity and arm.fidelity.get("returned_prompts")}
    unlike = [
        f"{strategy} {fidelity['prompts_unlike_template']} of {fidelity['returned_prompts']}"
        for strategy, fidelity in fidelities.items()
        if fidelity["prompts_unlike_template"]
    ]
    if not unlike:
        return []
    evidence = f"The server read prompts that the tokenizer's chat template does not produce: {', '.join(unlike)}."
    action = (
        "The server uses a different template, different arguments, or its own date; read its prompts in "
        "prompts.parquet."
    )
    return [Finding("server-prompt", evidence, action)]


def _foreign_prompts(record: dict[str, Any]) -> list[Finding]:
    return [
        Finding(
            "student-prompt",
            f"{strategy}: students are trained on a prompt that differs from the bare question they are tested on.",
            "Change the strategy so that the student's prompt is the bare question.",
        )
        for strategy, pair in record["conversations"].items()
        if not pair["bare"]
    ]
