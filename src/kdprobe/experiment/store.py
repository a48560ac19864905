"""The store: stages by the hash of all that decides them, runs by name.

A stage is made in a folder of its own and renamed into place, its manifest written last: what exists is whole. Two
runs on one store wait for each other's stages instead of making them twice.

    STORE/stages/KIND/KEY/…, stage.json     what was made
    STORE/making/KEY-WHO/                   what is being made; remains of killed runs are cleared
    STORE/making/KEY.scratch/               what a killed stage goes on from
    STORE/runs/NAME/run.json, report.html   what a run consists of
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from kdprobe.console import note
from kdprobe.errors import KdprobeError, doing
from kdprobe.host.candidates import own_version

MANIFEST = "stage.json"
KEY_FORMAT = 2
"""Goes up when keys are made up otherwise; stages of earlier formats are left alone and never found again."""
_KEY_LENGTH = 20
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Stage:
    """One step of an experiment.

    Attributes:
        kind: `transfer`, `distill`, `evaluate` or `analyse`.
        name: What it is called in this run.
        settings: Everything that decides its outcome besides its inputs, ready for JSON.
        inputs: The stages whose outcome it reads.
        work: Makes it: `(folder to write into, folders of the inputs, scratch folder) -> None`. What is written into
            the scratch folder survives a kill, and is gone once the stage is made.
    """

    kind: str
    name: str
    settings: dict[str, Any]
    inputs: tuple[Stage, ...]
    work: Callable[[Path, list[Path], Path], None]

    @property
    def key(self) -> str:
        """Hash of the settings and of the inputs' keys."""
        return digest({"kind": self.kind, "settings": self.settings, "inputs": [s.key for s in self.inputs]})[
            :_KEY_LENGTH
        ]


class Store:
    """A folder of stages and runs.

    Args:
        root: The folder; made if it does not exist.

    Raises:
        KdprobeError: It cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Makes the folders.

        Raises:
            KdprobeError: They cannot be written.
        """
        try:
            for part in ("stages", "making", "runs"):
                (self.root / part).mkdir(parents=True, exist_ok=True)
                probe = self.root / part / f".writable-{os.getpid()}"
                probe.touch()
                probe.unlink()
        except OSError as error:
            raise KdprobeError(
                f"The run folder {self.root} cannot be written: {error.strerror}.",
                "Choose another with --store, or mend its permissions.",
            ) from error

    def folder(self, stage: Stage) -> Path:
        """Where a stage is, or will be."""
        return self.root / "stages" / stage.kind / stage.key

    def has(self, stage: Stage) -> bool:
        """Whether a stage is finished."""
        return (self.folder(stage) / MANIFEST).is_file()

    def make(self, stage: Stage, launch: str | None = None) -> bool:
        """Makes a stage unless it exists.

        Args:
            stage: What to make.
            launch: The name of the launch whose other processes may `take_part`, or `None`.

        Returns:
            Whether it had to be made.
        """
        if self.has(stage):
            return False
        making = self.root / "making"
        lock = making / f"{stage.key}.lock"
        with exclusive(lock, f"Another process is making {stage.kind} {stage.name}; waiting for it."):
            if self.has(stage):
                return False
            for remains in making.glob(f"{stage.key}-*"):
                shutil.rmtree(remains)
            scratch = making / f"{stage.key}.scratch"
            scratch.mkdir(exist_ok=True)
            folder = self._making(stage, launch or str(os.getpid()))
            folder.mkdir()
            started = time.monotonic()
            with doing(f"making {stage.kind} {stage.name}"):
                stage.work(folder, [self.folder(needed) for needed in stage.inputs], scratch)
            seconds = time.monotonic() - started
            self._seal(stage, folder, seconds)
            target = self.folder(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
            shutil.rmtree(scratch, ignore_errors=True)
        return True

    def take_part(self, stage: Stage, launch: str) -> None:
        """Works along with the main process of a launch, once that makes the stage; does nothing if it need not.

        Waits by looking into the store, since a collective wait of hours would run into its time limit. What this
        process writes is thrown away, but for the scratch folder, which all share.
        """
        while not self._making(stage, launch).is_dir():
            if self.has(stage):
                return
            time.sleep(_LOOK_SECONDS)
        with TemporaryDirectory() as temporary:
            scratch = self.root / "making" / f"{stage.key}.scratch"
            stage.work(Path(temporary), [self.folder(needed) for needed in stage.inputs], scratch)

    def _making(self, stage: Stage, maker: str) -> Path:
        return self.root / "making" / f"{stage.key}-{maker}"

    def run_folder(self, name: str) -> Path:
        """The folder of a run."""
        return self.root / "runs" / name

    def runs(self) -> list[str]:
        """Names of all runs, newest first."""
        files = sorted(self.root.glob("runs/*/run.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        return [file.parent.name for file in files]

    def older_stages(self) -> int:
        """How many stages have keys of an earlier version of kdprobe, which this one does not look for."""
        manifests = self.root.glob(f"stages/*/*/{MANIFEST}")
        return sum(read_json(manifest).get("key_format") != KEY_FORMAT for manifest in manifests)

    @staticmethod
    def _seal(stage: Stage, folder: Path, seconds: float) -> None:
        files = {
            str(file.relative_to(folder)): file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file()
        }
        write_json(
            folder / MANIFEST,
            {
                "kind": stage.kind,
                "name": stage.name,
                "key": stage.key,
                "key_format": KEY_FORMAT,
                "kdprobe": own_version(),
                "settings": stage.settings,
                "inputs": [needed.key for needed in stage.inputs],
                "files": files,
                "seconds": round(seconds, 3),
            },
        )


@contextmanager
def exclusive(file: Path, waiting: str) -> Iterator[None]:
    """Keeps other processes out while the block runs; says `waiting` where it has to wait for one."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        note(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def digest(data: Any) -> str:
    """SHA-256 of data in canonical JSON."""
    return hashlib.sha256(json.dumps(clean(data), sort_keys=True).encode()).hexdigest()


def write_json(file: Path, data: Any) -> None:
    """Writes JSON whole or not at all; NaN and infinities become null."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(clean(data), stream, indent=2, allow_nan=False, ensure_ascii=False)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def read_json(file: Path) -> Any:
    """Reads JSON."""
    return json.loads(file.read_text(encoding="utf-8"))


def clean(data: Any) -> Any:
    """Data with NaN and infinities as `None`, tuples as lists and paths as strings."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {str(key): clean(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [clean(value) for value in data]
    return str(data) if isinstance(data, Path) else data
