"""What the teacher of an experiment read and wrote, for analyses of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.experiment.rendering import is_unprimed, reads_gold, render
from kdprobe.experiment.stages.context import StageContext, refuse_other_prompts, teacher_key
from kdprobe.experiment.stages.prompts import read_prompt_ids
from kdprobe.experiment.stages.stage import Stage
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, bare
from kdprobe.teachers.teacher import RenderingTeacher

if TYPE_CHECKING:
    from kdprobe.probing.priming.teaching import Priming, Teaching

Conversations = Mapping[str, PromptPair]


@dataclass(frozen=True)
class Lessons:
    """The transfer sets of an experiment, not yet made.

    Attributes:
        context: The experiment.
        conversations: Conversations by strategy and transfer problem.
        transfers: Transfer sets by strategy; none if the distiller trains without them.
    """

    context: StageContext
    conversations: Mapping[str, Conversations]
    transfers: Mapping[str, Stage]

    @cached_property
    def tests(self) -> dict[str, Conversations]:
        """Conversations by strategy and test problem; raises like `render`."""
        strategies = {strategy.display_name: strategy for strategy in self.context.experiment.strategies}
        test = self.context.problems.test
        return {label: render(self.context.host, strategies[label], test) for label in self.transfers}

    def settings(self, *, tests: bool) -> dict[str, Any]:
        """What determines the teaching besides the transfer sets: the teacher, and the prompts that it reads anew.

        Args:
            tests: Whether it reads test problems.
        """
        if not self.transfers:
            return {"strategies": {}}
        context = self.context
        read = _bare(context.problems.transfer)
        known = {"bare": read, **self.tests, "bare test": _bare(context.problems.test)} if tests else {"bare": read}
        return {
            "strategies": {label: self._unprimed(label) for label in self.transfers},
            "texts": context.experiment.transfer.texts,
            "prompts": {name: teacher_key(context, context.teacher, pairs) for name, pairs in known.items()},
        }

    def teaching(self, folders: Sequence[Path], settings: Mapping[str, Any], *, tests: bool) -> Teaching:
        """The teaching, once the transfer sets are made.

        Args:
            folders: The folders of the transfer sets, in order.
            settings: The result of `settings`.
            tests: As for `settings`.

        Raises:
            KdprobeError: The teacher's chat template renders prompts differently from when they were planned.
        """
        from kdprobe.probing.priming.teaching import Teaching

        context = self.context
        if self.transfers and tests and isinstance(context.teacher, RenderingTeacher):
            for label, pairs in self.tests.items():
                planned = settings["prompts"][label]["prompts"]
                refuse_other_prompts(planned, context.teacher_reader, [pair.teacher for pair in pairs.values()])
        primings = [
            self._priming(label, folder, tests=tests) for label, folder in zip(self.transfers, folders, strict=True)
        ]
        teacher = context.teacher if self.transfers else None
        return Teaching(teacher, context.problems.transfer, primings, context.experiment.transfer.texts)

    def _unprimed(self, label: str) -> bool:
        return is_unprimed(self.conversations[label], self.context.problems.transfer)

    def _priming(self, label: str, folder: Path, *, tests: bool) -> Priming:
        from kdprobe.probing.priming.teaching import Priming
        from kdprobe.transfer.transfer_set import first_answers, read_answers

        context = self.context
        strategy = next(each for each in context.experiment.strategies if each.display_name == label)
        return Priming(
            strategy=label,
            unprimed=self._unprimed(label),
            prompts=dict(read_prompt_ids(folder)),
            responses=first_answers(read_answers(folder), len(context.problems.transfer)),
            tests=self.tests[label] if tests else {},
            sees_gold=tests and reads_gold(context.host, strategy, context.problems.test),
        )


def _bare(problems: Sequence[Problem]) -> dict[str, PromptPair]:
    return {problem.id: PromptPair(bare(problem), bare(problem)) for problem in problems}
