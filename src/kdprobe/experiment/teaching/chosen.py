"""The teacher that a config names."""

from __future__ import annotations

from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.experiment.config import Experiment
from kdprobe.host.registry import Host


def chosen_teacher(experiment: Experiment, host: Host) -> Any:
    """The teacher, with its conversation settings; it loads no weights yet.

    Raises:
        KdprobeError: It does not support the settings in `[conversation]`.
    """
    config, conversation = experiment.teacher, experiment.conversation.conversation
    teacher = host.create("teachers", config.name, config.options)
    if hasattr(teacher, "conversation"):
        teacher.conversation = conversation
    elif conversation.instructs:
        raise KdprobeError(
            f"The teacher {config.name!r} supports neither a system message nor template arguments.",
            "Remove [conversation], or choose another teacher.",
        )
    return teacher
