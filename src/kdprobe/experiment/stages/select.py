"""The stage that keeps only those answers of a teacher that give the gold value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kdprobe.experiment.stages.context import StageContext, problems_key
from kdprobe.experiment.stages.environment import environment
from kdprobe.experiment.stages.stage import Stage, with_resources
from kdprobe.files import write_json

FORMAT = 4
SELECTION = "selection.json"


@with_resources("select")
def select_stage(context: StageContext, transfers: Mapping[str, Stage]) -> Stage:
    """Keeps the answers of these strategies that give the gold value; for several strategies, matched ones.

    Args:
        context: The experiment.
        transfers: Transfer sets by strategy.
    """
    problems = context.problems.transfer
    settings = {"format": FORMAT, "problems": problems_key(context, problems), "environment": environment()}

    def work(folder: Path, inputs: list[Path], _scratch: Path) -> None:
        from kdprobe.transfer.selection import matched, refuse_nothing, right_answers
        from kdprobe.transfer.transfer_set import read

        right = {input_.name: right_answers(read(input_).responses.texts, problems) for input_ in inputs}
        selection = matched(right)
        refuse_nothing(selection)
        write_json(folder / SELECTION, selection)

    return Stage("select", " and ".join(transfers), settings, tuple(transfers.values()), work, len(problems))
