"""What cannot be done with a student whose weights stay quantised."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.errors import UsageError
from kdprobe.experiment.stages.context import StageContext

_READING = (
    *("heads", "divergence", "association", "confidence", "drift", "output_divergence", "logit_lens", "geometry"),
    "shapley",
)
"""kdprobe's own analyses that only read students, and so take quantised ones."""
_EXCHANGING = frozenset({"ablation", "attribution", "circuits", "contrast", "patching"})


def quantised_student(context: StageContext) -> Iterator[UsageError]:
    """Engines that need adapters merged, and analyses that exchange parts of a student."""
    student = context.student
    if not student.is_packed:
        return
    try:
        context.engine.refuse_quantised(student)
    except UsageError as error:
        yield error
    names = [analysis.name for analysis in context.experiment.probe.analyses if analysis.name in _EXCHANGING]
    if names:
        yield UsageError(
            f"probe.analyses ({', '.join(names)}): the weights of the student {student.name!r} are quantised "
            f"({student.quantisation}), so the effects of heads and circuits cannot be computed exactly.",
            f"Use weights that are not quantised, or analyses that only read students ({', '.join(_READING)}).",
        )
