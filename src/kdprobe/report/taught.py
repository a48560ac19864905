"""How each student of a run was taught: what its teacher read, and how well teacher and student do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdprobe.comparison.result import ArmScore, Comparison
from kdprobe.console.streams import visible
from kdprobe.report.numbers import percent
from kdprobe.report.payload.arms import ShownArm
from kdprobe.report.prompt_diff import Part, told


@dataclass(frozen=True)
class TaughtArm:
    """An arm, or a strategy with the students of all seeds.

    Attributes:
        name: Its name.
        arm: The first of its arms as shown, with its colour.
        how: How the student was taught, in words.
        quoted: What the teacher's prompt adds to the bare question; empty if nothing.
        teacher: Accuracy of the teacher's answers on the problems for training; empty without a teacher.
        student: Accuracy of the student on the test problems, or the mean over seeds; empty if it has no answers.
    """

    name: str
    arm: ShownArm
    how: str
    quoted: str
    teacher: str
    student: str


def taught_arms(
    comparison: Comparison,
    shown: Sequence[ShownArm],
    prompts: Mapping[str, Sequence[Part]],
    fidelity: Mapping[str, Mapping[str, Any]],
) -> list[TaughtArm]:
    """A row for each strategy and control, in the order of the arms; empty if no arm has a strategy.

    Args:
        comparison: The result of the comparison.
        shown: The arms as shown.
        prompts: The parts of each strategy's prompt, from `prompt_diffs`.
        fidelity: The fidelity of each strategy's transfer set.
    """
    if not any(score.strategy for score in comparison.arms):
        return []
    colours = {arm["name"]: arm for arm in shown}
    members: dict[str, list[ArmScore]] = {}
    for score in comparison.arms:
        members.setdefault(score.group, []).append(score)
    return [
        TaughtArm(
            name,
            colours[visible(scores[0].name)],
            *_taught_by(scores[0], prompts),
            _teacher(fidelity.get(scores[0].strategy or "")),
            _student(scores),
        )
        for name, scores in members.items()
    ]


def _taught_by(score: ArmScore, prompts: Mapping[str, Sequence[Part]]) -> tuple[str, str]:
    if score.strategy is None:
        how = "the gold solutions, without a teacher" if score.distiller else "nobody (the student before training)"
        return how, ""
    if score.strategy not in prompts:
        return "the teacher", ""
    read, quoted = told(prompts[score.strategy])
    return f"the teacher, reading {read}", quoted


def _student(scores: Sequence[ArmScore]) -> str:
    mean = percent(sum(score.accuracy for score in scores) / len(scores))
    return mean if len(scores) == 1 else f"{mean} (mean of {len(scores)} seeds)"


def _teacher(summary: Mapping[str, Any] | None) -> str:
    return percent(summary["accuracy"]) if summary else ""
