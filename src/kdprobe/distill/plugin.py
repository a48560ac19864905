"""Registers the built-in distillers; torch is imported only when one is built."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.distill.distiller import Distiller
from kdprobe.distill.options import LogitsOptions, PublishedOptions, TrainingOptions
from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import DistillerSpec


def _logits(options: LogitsOptions) -> Distiller:
    from kdprobe.distill.builtin import LogitsDistiller

    return LogitsDistiller(options)


def _sequence(options: TrainingOptions) -> Distiller:
    from kdprobe.distill.builtin import SequenceDistiller

    return SequenceDistiller(options)


def _fine_tune(options: TrainingOptions) -> Distiller:
    from kdprobe.distill.builtin import FineTuneDistiller

    return FineTuneDistiller(options)


def _published(options: PublishedOptions) -> Distiller:
    from kdprobe.distill.published import PublishedDistiller

    return PublishedDistiller(options)


PUBLISHED_CAUTION = (
    "The distiller 'published' replicates a published recipe including its faults, so its students show what the "
    "faults do, not what priming does. It takes the teacher's next-token distributions at the positions of the "
    "teacher's prompt, not at those of an answer. The student reads only the unprimed question; its targets at each "
    "position are the teacher's distribution and the gold answer's token at the same position, without the necessary "
    "shift by one. The distributions are looked up in alphabetical order (1, 10, 100, ...), so nearly every problem "
    "gets those of a different problem. SGD at 5e-6 hardly changes the weights."
)


@hookimpl
def kdprobe_distillers() -> Iterator[DistillerSpec]:
    """`logits`, `sequence`, `fine-tune` and `published`."""
    yield DistillerSpec(
        name="logits",
        summary="Sparse KL to the primed teacher's log-probabilities",
        build=_logits,
        options=LogitsOptions,
    )
    yield DistillerSpec(
        name="sequence",
        summary="Cross-entropy on the primed teacher's responses",
        build=_sequence,
        options=TrainingOptions,
    )
    yield DistillerSpec(
        name="fine-tune",
        summary="Cross-entropy on gold solutions, without a teacher",
        build=_fine_tune,
        options=TrainingOptions,
    )
    yield DistillerSpec(
        name="published",
        summary="The published recipe with its misalignments, for replication",
        build=_published,
        options=PublishedOptions,
        caution=PUBLISHED_CAUTION,
    )
