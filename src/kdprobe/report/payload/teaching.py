"""What the teacher answered to the problems that students are trained on, under every strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.console.streams import visible
from kdprobe.experiment.config_checks import OWN
from kdprobe.experiment.results import Results
from kdprobe.files import UnreadableError
from kdprobe.problems.correctness import ROBUST
from kdprobe.report.payload.answers import Answers, shown_answers
from kdprobe.report.payload.arms import ShownArm
from kdprobe.teachers.teacher import Response
from kdprobe.transfer.transfer_set import first_answers
from kdprobe.words import counted

_MOST = 4_000
"""Answers in all; more would make a page that is slow to open."""
_PAIR = 2


class Teaching(TypedDict):
    """The teacher's answers.

    Attributes:
        arms: The strategies, each in the colour of its student.
        pair: The two strategies to begin with, or `None`.
        answers: The answers to the problems for training, or `None` if they cannot be read.
        note: What they are answers to, as sentences.
    """

    arms: list[ShownArm]
    pair: list[str] | None
    answers: Answers | None
    note: str


def teacher_answers(results: Results, shown: Sequence[ShownArm], pair: tuple[str, str] | None) -> Teaching | None:
    """The teacher's answers, or `None` if no arm has a transfer set.

    Args:
        results: The run.
        shown: Its arms as they are shown.
        pair: The two arms that the headline is about, or `None`.
    """
    arms, record, written = results.arms, results.record, results.written
    problems = record["problems"].get("transfer", [])
    if not written:
        return None
    most = min(len(problems), max(1, _MOST // len(written)))
    by_id = {problem["id"]: problem for problem in problems}
    asked = []
    for name, answers in written.items():
        try:
            asked.append(_asked(name, first_answers(answers, most), by_id))
        except UnreadableError as error:
            note = f"The teacher's answers cannot be shown: the transfer set of {visible(name)} {error}."
            return {"arms": [], "pair": None, "answers": None, "note": note}
    known = {arm.name: arm.strategy for arm in arms if arm.strategy and arm.strategy in written}
    looks = {known[arm.name]: look for arm, look in reversed([*zip(arms, shown, strict=True)]) if arm.name in known}
    strategies = list(dict.fromkeys(visible(strategy) for name in pair or () if (strategy := known.get(name))))
    solutions = {problem["id"]: problem["solution"] for problem in problems}
    return {
        "arms": [{**looks[name], "name": name} for name in written],
        "pair": strategies if len(strategies) == _PAIR else None,
        "answers": shown_answers(asked, ROBUST, solutions),
        "note": _note(record, most, filtered=any(arm.kept is not None for arm in arms)),
    }


def _asked(strategy: str, responses: Sequence[Response], problems: Mapping[str, Mapping[str, Any]]) -> Arm:
    """The answers under one strategy; `visible` is applied where they are shown."""
    responses = [response for response in responses if response.id in problems]
    asked = [problems[response.id] for response in responses]
    groups = [problem.get("group") for problem in asked]
    outputs = Outputs(
        file=strategy,
        responses=[response.text for response in responses],
        gold=[problem["value"] for problem in asked],
        ids=[problem["id"] for problem in asked],
        questions=[problem["question"] for problem in asked],
        groups=[str(group) for group in groups] if all(groups) else None,
        cut_off=[response.cut_off for response in responses],
        tokens=[len(response.token_ids) for response in responses],
    )
    return Arm(strategy, outputs, strategy)


def _note(record: Mapping[str, Any], most: int, *, filtered: bool) -> str:
    trained, tested = (len(record["problems"].get(split, [])) for split in ("transfer", "test"))
    transfer = record["config"].get("transfer", {})
    problems = counted(trained, "training problem")
    learned = f"Students learned from {'some of ' * filtered}these answers."
    if (texts := transfer.get("texts", OWN)) == OWN:
        said = f"The teacher answered the {problems} under each strategy."
    else:
        said = f"These answers to the {problems} come from transfer.texts = {texts!r}; the teacher only scored them."
    several = " Only the first answer to each problem is shown." if transfer.get("samples", 1) > 1 else ""
    part = f" The page shows the first {counted(most, 'problem')}." if most < trained else ""
    only = "which is used only to test the students" if tested == 1 else "which are used only to test the students"
    untold = f" The teacher was not given the {counted(tested, 'test problem')}, {only}."
    return f"{said} {learned}{several}{part}{untold}"
