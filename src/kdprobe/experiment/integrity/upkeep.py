"""Clearing what dead processes left in a store, and moving damaged files out of the way."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from kdprobe.console import note
from kdprobe.errors import KdprobeError
from kdprobe.experiment.integrity.manifest import KEY_LENGTH, MANIFEST
from kdprobe.files import PARTIAL, digest, sync, write_whole

ASIDE, MAKING, REMEMBERED, RUNS, STAGES = "aside", "making", "remembered", "runs", "stages"
RECORD = "run.json"
LOCK, SCRATCH = ".lock", ".scratch"
_TRIAL, _BEGUN_FROM = ".writable-", ".begun-from"
_ABANDONED_SECONDS = 60
"""After this many seconds, a temporary file that should have been renamed at once is abandoned."""


def make_folders(root: Path) -> None:
    """Creates a store's folders.

    Raises:
        KdprobeError: They are not writable, or stages cannot be moved into place.
    """
    try:
        for name in (STAGES, MAKING, RUNS, ASIDE):
            (root / name).mkdir(parents=True, exist_ok=True)
        for folder in (root / ASIDE, *_with_folders(root / STAGES)):
            _try_moving(root / MAKING / f"{_TRIAL}{os.getpid()}", folder)
        _try_moving(root / RUNS / f"{_TRIAL}{os.getpid()}", root / RUNS)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise KdprobeError(
                f"{folder} and {root / MAKING} are on different disks, so stages cannot be moved into place.",
                "Keep the whole store on one disk: choose another folder with --store, or make the store itself a "
                "symbolic link.",
            ) from error
        raise KdprobeError(
            f"Cannot write to the store {root}: {error.strerror}.",
            "Choose another folder with --store, or change its permissions.",
        ) from error


def _try_moving(trial: Path, folder: Path) -> None:
    try:
        trial.touch()
        trial.replace(folder / trial.name).unlink()
    finally:
        trial.unlink(missing_ok=True)


@contextmanager
def exclusive(file: Path, waiting: str) -> Iterator[None]:
    """Keeps other processes out while the block runs; prints `waiting` if it has to wait for one."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        note(waiting)
        lock.acquire()
    try:
        yield
    finally:
        drop(lock)


@contextmanager
def if_free(file: Path) -> Iterator[bool]:
    """Whether the lock is free; if so, this process holds it while the block runs."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        drop(lock)


def clear(root: Path) -> None:
    """Removes what dead processes left: locks, half-made stages, scratch of finished stages, half-written files.

    The scratch folder of an unfinished stage stays: the next process resumes from it.
    """
    making, stages = root / MAKING, root / STAGES
    for key in {path.name[:KEY_LENGTH] for path in making.iterdir() if not path.name.startswith(".")}:
        with suppress(OSError), if_free(making / f"{key}{LOCK}") as free:
            if free:
                clear_remains(making, key)
                if any(stages.glob(f"*/{key}/{MANIFEST}")):
                    shutil.rmtree(making / f"{key}{SCRATCH}", ignore_errors=True)
    abandoned = time.time() - _ABANDONED_SECONDS
    for folder in (making, root / ASIDE, root / REMEMBERED, *_with_folders(root / RUNS), *_with_folders(stages)):
        for file in (*folder.glob(f"{_TRIAL}*"), *folder.glob(f".*{PARTIAL}")):
            with suppress(OSError):
                if file.stat().st_mtime < abandoned:
                    file.unlink()


def scratch_for(making: Path, key: str, origin: dict[str, str]) -> Path:
    """The scratch folder of a stage; if it was started from inputs with different content, it is removed first.

    Args:
        making: The folder in which stages are run.
        key: The stage's key.
        origin: The inputs, with digests of their content.
    """
    scratch, wanted = making / f"{key}{SCRATCH}", digest(origin)
    begun_from = scratch / _BEGUN_FROM
    if origin and scratch.is_dir() and (not begun_from.is_file() or begun_from.read_text(encoding="utf-8") != wanted):
        shutil.rmtree(scratch)
    scratch.mkdir(exist_ok=True)
    write_whole(begun_from, wanted)
    return scratch


def clear_remains(making: Path, key: str) -> None:
    """Removes what killed processes left of a stage; only the holder of its lock may call this."""
    for remains in making.glob(f"{key}-*"):
        shutil.rmtree(remains)


def set_aside(root: Path, path: Path) -> Path:
    """Moves something damaged out of the way, and returns its new path."""
    aside = root / ASIDE
    aside.mkdir(exist_ok=True)
    name = "-".join(path.relative_to(root).parts[1:])
    names = (f"{name}-{number}" for number in count(1))
    target = path.rename(next(aside / name for name in names if not (aside / name).exists()))
    sync(path.parent)
    sync(aside)
    return target


def _with_folders(folder: Path) -> list[Path]:
    return [folder, *(inner for inner in folder.iterdir() if inner.is_dir())]


def drop(lock: FileLock) -> None:
    """Releases a lock and removes its file; a process waiting for it then creates a new one."""
    with suppress(OSError):
        Path(lock.lock_file).unlink()
    lock.release()
