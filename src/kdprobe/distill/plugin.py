"""Registers the built-in distillers; torch is imported only when one is built."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.distill.distiller import Distiller
from kdprobe.distill.options import LogitsOptions, TrainingOptions
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


@hookimpl
def kdprobe_distillers() -> Iterator[DistillerSpec]:
    """`logits`, `sequence` and `fine-tune`."""
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
