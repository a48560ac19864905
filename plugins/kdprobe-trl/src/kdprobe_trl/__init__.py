"""On-policy distillation with TRL's `DistillationTrainer`, with the teacher under its own, primed prompt."""

from collections.abc import Iterator
from typing import Any

from kdprobe import DistillerSpec, hookimpl
from kdprobe_trl.options import OnPolicyOptions


def _build(options: OnPolicyOptions) -> Any:
    from kdprobe_trl.distiller import OnPolicyDistiller

    return OnPolicyDistiller(options)


@hookimpl
def kdprobe_distillers() -> Iterator[DistillerSpec]:
    """`trl-on-policy`."""
    yield DistillerSpec(
        name="trl-on-policy",
        summary="TRL's trainer on the student's own answers, scored by the primed teacher",
        build=_build,
        options=OnPolicyOptions,
        format=2,
    )
