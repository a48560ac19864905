"""Removing what no run needs from a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kdprobe.errors import KdprobeError
from kdprobe.experiment.integrity.manifest import KEY_LENGTH, is_older, read_manifest
from kdprobe.experiment.integrity.needs import Inputs, needs
from kdprobe.experiment.integrity.upkeep import (
    ASIDE,
    LOCK,
    MAKING,
    REMEMBERED,
    SCRATCH,
    STAGES,
    clear,
    if_free,
    make_folders,
)
from kdprobe.experiment.integrity.use import alone
from kdprobe.experiment.integrity.verify import size_of
from kdprobe.files import UnreadableError, digest, sync


@dataclass(frozen=True)
class Unneeded:
    """Something in a store that no run needs.

    Attributes:
        path: Where it is.
        kind: The kind of the stage, `aside` for something found damaged, or `remembered`.
        name: Its name; empty if unknown.
        size: The total size of its files in bytes.
        reason: Why it is not needed.
    """

    path: Path
    kind: str
    name: str
    size: int
    reason: str


def unneeded(root: Path) -> list[Unneeded]:
    """What no run in a store needs: stages, partial work of killed stages, what was found damaged, and plans' memory.

    Unfinished runs also need their stages.

    Raises:
        KdprobeError: The record of a run is damaged, so that its needs are unknown.
    """
    keys: set[str] = set()
    for record in needs(root):
        if record.faults:
            raise KdprobeError(
                f"The run {record.run} is damaged ({', '.join(record.faults)}), so its stages are unknown.",
                "Run the experiment again, or discard the run with `kdprobe store verify --repair`.",
            )
        keys |= record.keys
    needed = Inputs(root).with_inputs(keys)
    return [*_stages(root, needed), *_scratch(root, needed), *_aside(root), *_remembered(root)]


def prune(root: Path, chosen: Collection[Unneeded]) -> list[Unneeded]:
    """Removes what no run needs, and returns what was removed.

    Anything a run has made or read since it was chosen stays. A folder is removed by a single rename first, so that a
    kill never leaves half a stage behind; the next process deletes the rest.

    Args:
        root: The store.
        chosen: What to remove, from `unneeded`.

    Raises:
        KdprobeError: Another process is using the store, or as raised by `unneeded`.
    """
    make_folders(root)
    with alone(root):
        clear(root)
        still = {item.path for item in unneeded(root)}
        return [item for item in chosen if item.path in still and _remove(root, item.path)]


def _stages(root: Path, needed: Collection[str]) -> Iterator[Unneeded]:
    for folder in sorted(root.glob(f"{STAGES}/*/*")):
        if folder.is_dir() and folder.name not in needed:
            name, reason = "", "its manifest is damaged"
            with suppress(UnreadableError):
                manifest = read_manifest(folder)
                name = str(manifest.get("name", ""))
                reason = "from an earlier version of kdprobe" if is_older(manifest) else "no run needs it"
            yield Unneeded(folder, folder.parent.name, name, size_of(folder), reason)


def _scratch(root: Path, needed: Collection[str]) -> Iterator[Unneeded]:
    for folder in sorted(root.glob(f"{MAKING}/*{SCRATCH}")):
        if folder.name.removesuffix(SCRATCH) not in needed:
            yield Unneeded(folder, MAKING, "", size_of(folder), "unfinished, and no run needs it")


def _aside(root: Path) -> Iterator[Unneeded]:
    for path in sorted(root.glob(f"{ASIDE}/*")):
        if not path.name.startswith("."):
            yield Unneeded(path, ASIDE, "", size_of(path), "found damaged and moved aside")


def _remembered(root: Path) -> Iterator[Unneeded]:
    if (folder := root / REMEMBERED).is_dir():
        yield Unneeded(folder, REMEMBERED, "", size_of(folder), "a cache that makes plans faster")


def _remove(root: Path, path: Path) -> bool:
    """Removes a file or a folder; returns `False` if a process is running the stage."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return True
    key = path.name.removesuffix(SCRATCH)
    if path.parent.name == ASIDE or len(key) != KEY_LENGTH:
        # The remains of dead processes are recognised by the length of a key.
        key = digest(path.relative_to(root))[:KEY_LENGTH]
    making = root / MAKING
    with if_free(making / f"{key}{LOCK}") as free:
        if free:
            going = path.rename(making / f"{key}-{os.getpid()}")
            sync(path.parent)
            sync(making)
            shutil.rmtree(going)
    return free
