"""Options that cannot be had with these models and so few problems."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.comparison.finding import Finding
from kdprobe.errors import UsageError
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.distill import FINE_TUNE


def held_out(context: StageContext) -> Iterator[UsageError]:
    """Shares of the examples that are held out, of so few that none is left."""
    experiment = context.experiment
    examples = len(context.problems.transfer)
    trainings = [("distill.options", experiment.distill.name, experiment.distill.options, experiment.transfer.samples)]
    if experiment.controls.fine_tuned:
        trainings.append(("controls.fine_tune_options", FINE_TUNE, experiment.controls.fine_tune_options, 1))
    for key, kind, options, samples in trainings:
        share = getattr(context.host.options("distillers", kind, options), "validation", 0)
        count = examples * samples
        if share and max(1, round(share * count)) >= count:
            yield UsageError(
                f"{key}.validation: holding out {share:g} of {count} examples leaves none to train on.",
                "Give more transfer problems, or a smaller share.",
            )


def top_k(context: StageContext) -> Iterator[Finding]:
    """More log-probabilities than there are tokens."""
    wanted, there = context.experiment.transfer.top_logprobs, 0
    if context.uses_teacher and context.distiller.temperatures():
        there = len(context.teacher_tokenizer)
    if there and wanted > there:
        yield Finding(
            "top-k-above-vocabulary",
            f"transfer.top_logprobs is {wanted:,}, and the teacher has {there:,} tokens.",
            "Its whole distribution is kept; a smaller k takes less room on disk.",
        )
