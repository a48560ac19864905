"""Options ruled out by these models, or by the small number of problems."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kdprobe.comparison.finding import Finding
from kdprobe.distill.distiller import SelectiveDistiller
from kdprobe.errors import UsageError
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.distill import FINE_TUNE
from kdprobe.probing.few_problems import few_problems
from kdprobe.teachers.teacher import LimitedTeacher
from kdprobe.words import counted


def trainings(context: StageContext) -> Iterator[tuple[str, Any, int]]:
    """For each kind of training: the config key of its options, the options, and examples per transfer problem."""
    experiment, options = context.experiment, context.host.options
    distill, controls = experiment.distill, experiment.controls
    yield "distill.options", options("distillers", distill.name, distill.options), experiment.transfer.samples
    if controls.fine_tuned:
        yield "controls.fine_tune_options", options("distillers", FINE_TUNE, controls.fine_tune_options), 1


def held_out(context: StageContext) -> Iterator[UsageError]:
    """Held-out shares that would leave no examples to train on."""
    for key, options, samples in trainings(context):
        share = getattr(options, "validation", 0)
        count = len(context.problems.transfer) * samples
        if share and max(1, round(share * count)) >= count:
            yield UsageError(
                f"{key}.validation: holding out {share:.0%} of {counted(count, 'example')} leaves none to train on.",
                "Increase problems.transfer, or lower the share.",
            )


def top_k(context: StageContext) -> Iterator[Finding]:
    """More log-probabilities than the vocabulary has tokens."""
    wanted, there = context.experiment.transfer.top_logprobs, 0
    if context.uses_teacher and context.distiller.temperatures():
        there = context.teacher_reader.size
    if there and wanted > there:
        yield Finding(
            "top-k-above-vocabulary",
            f"transfer.top_logprobs is {wanted:,}, but the teacher's vocabulary has only {there:,} tokens.",
            "The whole distribution is kept; a smaller k takes less disk space.",
        )


def teacher_limits(context: StageContext) -> Iterator[UsageError]:
    """What the teacher cannot give: what this distiller reads, or so many log-probabilities."""
    if not context.uses_teacher:
        return
    teacher, distiller, wanted = context.teacher, context.distiller, context.experiment.transfer.top_logprobs
    if isinstance(distiller, SelectiveDistiller):
        try:
            distiller.refuse_teacher(teacher)
        except UsageError as error:
            yield error
    reads_rows = "responses" in distiller.needs and distiller.temperatures()
    if reads_rows and isinstance(teacher, LimitedTeacher) and wanted > teacher.max_logprobs:
        yield UsageError(
            f"transfer.top_logprobs is {wanted:,}, but the teacher keeps at most {teacher.max_logprobs:,} "
            "log-probabilities per token.",
            f"Set it to {teacher.max_logprobs} or less.",
        )


def few_probed(context: StageContext) -> list[Finding]:
    """Analyses that read too few problems for their intervals and tests."""
    config = context.experiment.probe
    analyses = {analysis.name: analysis.options for analysis in config.analyses}
    return few_problems(context.host, analyses, len(context.problems.test[: config.problems]))
