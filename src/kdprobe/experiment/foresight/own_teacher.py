"""Students that can learn nothing new because their teacher is the student itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kdprobe.comparison.finding import Finding
from kdprobe.experiment.config_checks import OWN
from kdprobe.experiment.rendering import is_unprimed
from kdprobe.experiment.stages.context import StageContext
from kdprobe.host.candidates import BUILTIN
from kdprobe.strategies.prompt_pair import PromptPair


def self_taught(context: StageContext, conversations: Mapping[str, Mapping[str, PromptPair]]) -> Iterator[Finding]:
    """Unprimed strategies whose teacher is the untrained student: the same weights, which read the same prompt."""
    if not (_teaches_itself(context) and _learns_nothing_else(context)):
        return
    for strategy, pairs in conversations.items():
        same = all(pair.teacher == pair.student for pair in pairs.values())
        if same and is_unprimed(pairs, context.problems.transfer):
            yield Finding(
                "self-taught",
                f"The teacher is the student itself ({context.student.name}, without an adapter), and under the "
                f"strategy {strategy!r} it reads the same prompt as the student, so students learn what they already "
                "do.",
                "Choose another teacher.options.model, or set teacher.options.adapter. Otherwise, regard the students "
                f"of {strategy!r} as practically untrained.",
            )


def _teaches_itself(context: StageContext) -> bool:
    provider = context.host.get("teachers", context.experiment.teacher.name).provider
    if not context.uses_teacher or provider.source != BUILTIN:
        return False
    teacher = context.teacher
    return teacher.adapter is None and teacher.record.as_key() == context.student.as_key()


def _learns_nothing_else(context: StageContext) -> bool:
    """Whether students learn only the teacher's distribution, or only answers that it wrote itself, all of them."""
    if "gold" in context.distiller.needs:
        return False
    transfer = context.experiment.transfer
    return bool(context.distiller.temperatures()) or (transfer.texts == OWN and transfer.filter == "none")
