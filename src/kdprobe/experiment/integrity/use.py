"""Who uses a store: while a process does, no other removes stages from it.

A run reads stages that it made hours ago, whose locks it no longer holds. So each process that makes or reads stages
holds a lock of its own for as long as it does, and `kdprobe store prune` looks for those first.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from filelock import FileLock

from kdprobe.errors import KdprobeError
from kdprobe.experiment.integrity.upkeep import LOCK, drop, exclusive, if_free

_USING, _GATE = ".using-", ".pruning"
_users: weakref.WeakSet[object] = weakref.WeakSet()
_own: set[Path] = set()


def use(root: Path, user: object) -> None:
    """Keeps other processes from pruning a store for as long as an object lives.

    Where the store cannot be written, as on a disk that is mounted for reading, nobody here can prune it either.

    Args:
        root: The store.
        user: Who uses it.
    """
    if user in _users:
        return
    with suppress(OSError), _gate(root):
        _living(root)
        file = root.resolve() / f"{_USING}{os.getpid()}-{token_hex(4)}{LOCK}"
        # Whichever thread collects the user may release it.
        lock = FileLock(file, thread_local=False)
        lock.acquire(timeout=0)
        _users.add(user)
        _own.add(file)
        weakref.finalize(user, _leave, lock, file, os.getpid())


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keeps other processes from beginning to use a store while the block runs.

    Raises:
        KdprobeError: One uses it already.
    """
    with _gate(root):
        if living := _living(root):
            process = living[0].name.removeprefix(_USING).partition("-")[0]
            raise KdprobeError(
                f"Another process (number {process}) is using the store {root}, and may need what it made there.",
                "Wait until it has finished.",
            )
        yield


def _gate(root: Path) -> AbstractContextManager[None]:
    return exclusive(root / f"{_GATE}{LOCK}", "Another process is removing stages from the store; waiting for it.")


def _living(root: Path) -> list[Path]:
    """The locks of other processes that use a store; those of dead ones are removed."""
    living = []
    for file in sorted(root.resolve().glob(f"{_USING}*{LOCK}")):
        if file not in _own:
            with if_free(file) as free:
                if not free:
                    living.append(file)
    return living


def _leave(lock: FileLock, file: Path, process: int) -> None:
    # A fork has the lock too, and must not take it from its parent.
    if os.getpid() == process:
        drop(lock)
        _own.discard(file)
