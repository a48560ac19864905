"""Models whose weights are not here: their shapes can be planned with, and nothing can be run."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.comparison.finding import Finding
from kdprobe.experiment.stages.context import StageContext


def absent_weights(context: StageContext) -> Iterator[Finding]:
    """Folders of models that contain no weights."""
    records = [context.student, *([context.teacher_reader.record] if context.uses_teacher else [])]
    names = dict.fromkeys(record.name for record in records if record.source == "folder" and not record.has_weights)
    if names:
        yield Finding(
            "no-weights",
            f"There are no weights in {', '.join(names)}, so the experiment can be planned but not run. Stage "
            "keys will change when weights are added.",
            "To run the experiment, specify folders with weights, or models on the Hub.",
        )
