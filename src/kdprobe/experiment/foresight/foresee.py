"""Everything that can be known about a run from its config, its problems and its models' files, without weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from kdprobe.comparison.finding import Finding
from kdprobe.errors import UsageError
from kdprobe.experiment.foresight.absent_weights import absent_weights
from kdprobe.experiment.foresight.architecture import blind_analyses, recomputation, target_modules
from kdprobe.experiment.foresight.launch import unsupported_launch
from kdprobe.experiment.foresight.lengths import student_lengths, teacher_lengths
from kdprobe.experiment.foresight.options import few_probed, held_out, teacher_limits, top_k
from kdprobe.experiment.foresight.own_teacher import self_taught
from kdprobe.experiment.foresight.prompts import questions_left_out
from kdprobe.experiment.foresight.quantised import quantised_student
from kdprobe.experiment.foresight.templates import check_templates
from kdprobe.experiment.foresight.vocabularies import comparable_tokens, ends, ids_without_rows
from kdprobe.experiment.stages.context import StageContext
from kdprobe.strategies.prompt_pair import PromptPair

Conversations = Mapping[str, Mapping[str, PromptPair]]
"""Strategy mapped to problem id mapped to its two conversations."""
Foreseen = UsageError | Finding
"""An error that would make the run fail, or something the user should know before it starts."""


def foresee(context: StageContext, conversations: Conversations) -> list[Finding]:
    """Examines a run before it starts.

    Args:
        context: The experiment.
        conversations: The conversations its strategies build from the transfer problems.

    Returns:
        Findings: what may make the run a waste of time.

    Raises:
        KdprobeError: The run would fail; the error lists all reasons and what to do about each.
    """
    # Nothing else can be checked without the models' configurations.
    _ = context.student_blueprint, context.teacher_blueprint
    check_templates(context)
    mistakes, findings = [], []
    for item in _all(context, conversations):
        if isinstance(item, UsageError):
            mistakes.append(item)
        else:
            findings.append(item)
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        listed = "\n".join(f"  - {mistake}" for mistake in mistakes)
        raise UsageError(f"This run would fail for {len(mistakes)} reasons:\n{listed}")
    return findings


def _all(context: StageContext, conversations: Conversations) -> Iterator[Foreseen]:
    return chain(
        unsupported_launch(context),
        quantised_student(context),
        absent_weights(context),
        comparable_tokens(context),
        ends(context),
        ids_without_rows(context, conversations),
        questions_left_out(conversations, context.problems.transfer),
        self_taught(context, conversations),
        teacher_lengths(context, conversations),
        student_lengths(context, conversations),
        target_modules(context),
        recomputation(context),
        blind_analyses(context),
        few_probed(context),
        held_out(context),
        teacher_limits(context),
        top_k(context),
    )
