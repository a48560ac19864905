"""What runs in Ray's processes: stages, and the mailbox for what they tell."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from kdprobe.experiment import Progressed, Said, Task, as_message, end_of

THREADS, GPUS = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"
_NO_GPU = "-1"


class Mailbox:
    """Keeps what stages tell until it is fetched."""

    def __init__(self) -> None:
        self._told: list[tuple[str, list[Any]]] = []

    def put(self, key: str, message: list[Any]) -> None:
        """Takes a message from the stage with this key."""
        self._told.append((key, message))

    def take(self) -> list[tuple[str, list[Any]]]:
        """All messages since the last call."""
        told, self._told = self._told, []
        return told


def run_stage(job: Mapping[str, Any], task: Mapping[str, Any], mailbox: Any, threads: str | None) -> list[Any]:
    """Runs a stage.

    Args:
        job: The run, from `Job.as_data`.
        task: The stage.
        mailbox: The handle of the mailbox.
        threads: The value of OMP_NUM_THREADS in the process that planned the run, which Ray replaces.

    Returns:
        The message about its end.
    """
    import ray

    # Before anything imports torch.
    _set(THREADS, threads)
    if not ray.get_runtime_context().get_assigned_resources().get("GPU"):
        _set(GPUS, _NO_GPU)

    def tell(event: Said | Progressed) -> None:
        sent = mailbox.put.remote(task["key"], as_message(event))
        if isinstance(event, Said):
            # `ray.get` would lend this task's CPUs to another one meanwhile.
            sent.future().result()

    return as_message(end_of(job, Task.from_data(task), tell))


def _set(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value
