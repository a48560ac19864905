"""Several processes that train together, as started by `accelerate launch` or torchrun.

A process learns its rank from the environment, before torch is loaded. Only process 0, the *main* process, prints and
writes; the others take part in training.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar
from uuid import uuid4

Item = TypeVar("Item")


def count() -> int:
    """The number of processes; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def rank() -> int:
    """This process's rank, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def is_main() -> bool:
    """Whether this process prints and writes."""
    return rank() == 0


def gathered(item: Item) -> list[Item]:
    """The items of all processes, by rank; all processes must call it."""
    if count() == 1:
        return [item]
    from accelerate.utils import gather_object

    _join()
    items: list[Item] = gather_object([item])
    return items


def wait() -> None:
    """Waits until all processes have arrived."""
    if count() > 1:
        _join().wait_for_everyone()


def launch_name() -> str | None:
    """A name that the processes of this launch share and no other launch has; `None` without a launcher."""
    return gathered(uuid4().hex)[0] if count() > 1 else None


def leave() -> None:
    """Leaves the process group, so that the library does not warn."""
    if count() > 1:
        _join().destroy_process_group()


def _join() -> Any:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
