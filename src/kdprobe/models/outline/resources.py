"""What a piece of work runs on: stated when it is planned; threads and device are checked when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from kdprobe.errors import KdprobeError
from kdprobe.models.outline.device import default_device, planned_for

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Resources:
    """What a piece of work runs on. Threads and device affect numbers; the rest is only what an executor reserves.

    Attributes:
        threads: CPU threads of torch; `None` leaves the number to torch.
        device: The class of device; `None` means whatever the process has.
        gpus: GPUs to reserve, if the device is a GPU; `None` means one.
        memory_gib: Main memory to reserve; `None` means none.
    """

    threads: int | None = None
    device: Device | None = None
    gpus: float | None = None
    memory_gib: float | None = None

    @contextmanager
    def planned(self) -> Iterator[None]:
        """Makes keys that are computed in the block those of work on these resources, without having them."""
        with planned_for(self.threads, self.device):
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Gives torch these threads while the block runs.

        Raises:
            KdprobeError: The process has a device of another class.
        """
        self.refuse_other_device()
        if self.threads is None:
            yield
            return
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def refuse_other_device(self) -> None:
        """Checks that the process has a device of the stated class.

        Raises:
            KdprobeError: It has not.
        """
        if self.device is None or (found := default_device().partition(":")[0]) == self.device:
            return
        if found == "cpu":
            raise KdprobeError(
                f"This stage was planned for the device {self.device!r}, but this process finds no GPU.",
                "Run it on a machine with a GPU, or change `device` in [resources].",
            )
        raise KdprobeError(
            f"This stage was planned for the device {self.device!r}, but this process uses a GPU.",
            "Hide the GPU by setting the environment variable CUDA_VISIBLE_DEVICES to -1, or change `device` in "
            "[resources].",
        )


ANY = Resources()
"""Nothing is stated."""
