"""What the launcher of several processes asks for and training does not support."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.distill.training.launch import refuse_launch
from kdprobe.errors import UsageError
from kdprobe.experiment.stages.context import StageContext


def unsupported_launch(context: StageContext) -> Iterator[UsageError]:
    """Precisions and ways to divide a model that are refused."""
    try:
        refuse_launch(context.student)
    except UsageError as error:
        yield error
