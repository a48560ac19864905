"""Tracks which processes use a store; while one does, no other process removes stages from it.

A run reads stages that it made hours ago and whose locks it has released. So each process that makes or reads stages
holds its own lock while it does so, and `kdprobe store prune` checks for these locks first.
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
    """Keeps other processes from pruning a store for the lifetime of an object.

    If the store is not writable, as on a read-only disk, nobody can prune it from here either.

    Args:
        root: The store.
        user: The object that uses it.
    """
    if user in _users:
        return
    with suppress(OSError), _gate(root):
        _living(root)
        file = root.resolve() / f"{_USING}{os.getpid()}-{token_hex(4)}{LOCK}"
        # Any thread may collect the user and release the lock.
        lock = FileLock(file, thread_local=False)
        lock.acquire(timeout=0)
        _users.add(user)
        _own.add(file)
        weakref.finalize(user, _leave, lock, file, os.getpid())


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keeps other processes from starting to use a store while the block runs.

    Raises:
        KdprobeError: Another process is already using it.
    """
    with _gate(root):
        if living := _living(root):
            process = living[0].name.removeprefix(_USING).partition("-")[0]
            raise KdprobeError(
                f"Another process (PID {process}) is using the store {root} and may need its stages.",
                "Wait until it has finished.",
            )
        yield


def _gate(root: Path) -> AbstractContextManager[None]:
    return exclusive(root / f"{_GATE}{LOCK}", "Another process is removing stages from the store; waiting for it.")


def _living(root: Path) -> list[Path]:
    """The locks of other processes that use a store; locks of dead processes are removed."""
    living = []
    for file in sorted(root.resolve().glob(f"{_USING}*{LOCK}")):
        if file not in _own:
            with if_free(file) as free:
                if not free:
                    living.append(file)
    return living


def _leave(lock: FileLock, file: Path, process: int) -> None:
    # A fork inherits the lock, and must not take it from its parent.
    if os.getpid() == process:
        drop(lock)
        _own.discard(file)
