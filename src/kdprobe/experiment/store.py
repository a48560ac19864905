"""The store: stages by the hash of all that decides them, runs by name.

A stage is made in a folder of its own and renamed into place, its manifest written last, and all of it on the disk
before its scratch goes: what exists is whole. What it holds is checked when it is first read. Two runs on one store
wait for each other's stages instead of making them twice.

    STORE/stages/KIND/KEY/…, stage.json     what was made
    STORE/making/KEY-WHO/                   what is being made; remains of killed runs are cleared
    STORE/making/KEY.scratch/               what a killed stage goes on from
    STORE/aside/KIND-KEY-N/                 what was found damaged
    STORE/runs/NAME/run.json, report.html   what a run consists of
    STORE/.using-PROCESS-N.lock             who makes or reads stages
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from kdprobe.console import warn
from kdprobe.errors import doing
from kdprobe.experiment.integrity.checks import Checks, DamagedStageError
from kdprobe.experiment.integrity.manifest import MADE_FROM, MANIFEST, data_digest, is_older, seal, stage_key
from kdprobe.experiment.integrity.upkeep import (
    LOCK,
    MAKING,
    RECORD,
    RUNS,
    SCRATCH,
    STAGES,
    clear,
    clear_remains,
    exclusive,
    make_folders,
    scratch_for,
    set_aside,
)
from kdprobe.experiment.integrity.use import use
from kdprobe.files import sync
from kdprobe.host.candidates import own_version
from kdprobe.redaction import without_secrets

Status = Literal["there", "missing", "damaged"]
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

    def __post_init__(self) -> None:
        """No secret gets into keys or manifests, whoever passed it on."""
        object.__setattr__(self, "settings", without_secrets(self.settings))

    @property
    def key(self) -> str:
        """Hash of the settings and of the inputs' keys."""
        return stage_key(self.kind, self.settings, [needed.key for needed in self.inputs])


class Store:
    """A folder of stages and runs.

    Args:
        root: The folder; made if it does not exist.

    Attributes:
        checks: What was read of the stages, and found whole.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checks = Checks()

    def hold(self) -> None:
        """Keeps other processes from pruning the store for as long as this object lives."""
        if self.root.is_dir():
            use(self.root, self)

    def prepare(self) -> None:
        """Makes the folders, holds them, and clears what dead processes left in them.

        Raises:
            KdprobeError: They cannot be written, or are on different disks.
        """
        make_folders(self.root)
        self.hold()
        clear(self.root)

    def folder(self, stage: Stage) -> Path:
        """Where a stage is, or will be."""
        return self.folder_of(stage.kind, stage.key)

    def folder_of(self, kind: str, key: str) -> Path:
        """The same, of a stage that a record names."""
        return self.root / STAGES / kind / key

    def has(self, stage: Stage) -> bool:
        """Whether a stage is finished."""
        return (self.folder(stage) / MANIFEST).is_file()

    def status(self, stage: Stage) -> Status:
        """Whether a stage is finished and whole, as far as its manifest and the sizes of its files say."""
        if not self.has(stage):
            return "missing"
        try:
            self.checks.sizes(self.folder(stage))
        except DamagedStageError:
            return "damaged"
        return "there"

    def make(self, stage: Stage, launch: str | None = None) -> bool:
        """Makes a stage unless it exists; one that is not what was written is set aside and made again.

        Args:
            stage: What to make.
            launch: The name of the launch whose other processes may `take_part`, or `None`.

        Returns:
            Whether it had to be made.

        Raises:
            DamagedStageError: One of its inputs is not what was written.
        """
        if self._damage(stage) is None:
            return False
        making, name = self.root / MAKING, f"{stage.kind} {stage.name}"
        with exclusive(making / f"{stage.key}{LOCK}", f"Another process is making {name}; waiting for it."):
            if self._damage(stage) is None:
                return False
            self._set_aside(stage)
            clear_remains(making, stage.key)
            inputs = self._inputs(stage)
            scratch = scratch_for(making, stage.key, self._origin(stage))
            folder = self._making(stage, launch or str(os.getpid()))
            folder.mkdir()
            started = time.monotonic()
            with doing(f"making {name}"):
                stage.work(folder, inputs, scratch)
            self._seal(stage, folder, time.monotonic() - started)
            self._put_in_place(stage, folder)
            shutil.rmtree(scratch, ignore_errors=True)
        return True

    def _damage(self, stage: Stage) -> str | None:
        """What keeps a stage from being used as it is, or `None`."""
        if not self.has(stage):
            return f"it has no {MANIFEST}"
        try:
            self.checks.whole(self.folder(stage))
        except DamagedStageError as error:
            return ", ".join(error.faults)
        return None

    def _set_aside(self, stage: Stage) -> None:
        """Moves what is in a stage's place, and is not the stage, out of the way; only who holds its lock may."""
        if self.folder(stage).exists():
            damage = self._damage(stage)
            aside = set_aside(self.root, self.folder(stage))
            self.checks.forget(self.folder(stage))
            warn(f"{stage.kind} {stage.name} is damaged: {damage}. It was moved to {aside} and is made again.")

    def _put_in_place(self, stage: Stage, folder: Path) -> None:
        target = self.folder(stage)
        target.parent.mkdir(exist_ok=True)
        sync(target.parent.parent)
        # Something may have come there while the stage was made: the stage itself, where locks do not work.
        if self._damage(stage) is None:
            shutil.rmtree(folder)
            return
        self._set_aside(stage)
        folder.rename(target)
        sync(target.parent)
        self.checks.made(target)

    def _inputs(self, stage: Stage) -> list[Path]:
        return [self.checks.whole(self.folder(needed)) for needed in stage.inputs]

    def take_part(self, stage: Stage, launch: str) -> None:
        """Works along with the main process of a launch, once that makes the stage; does nothing if it need not.

        Waits by looking into the store, since a collective wait of hours would run into its time limit. What this
        process writes is thrown away, but for the scratch folder, which all share.
        """
        while not self._making(stage, launch).is_dir():
            if self._damage(stage) is None:
                return
            time.sleep(_LOOK_SECONDS)
        with TemporaryDirectory() as temporary:
            scratch = self.root / MAKING / f"{stage.key}{SCRATCH}"
            stage.work(Path(temporary), self._inputs(stage), scratch)

    def _making(self, stage: Stage, maker: str) -> Path:
        return self.root / MAKING / f"{stage.key}-{maker}"

    def run_folder(self, name: str) -> Path:
        """The folder of a run."""
        return self.root / RUNS / name

    def runs(self) -> list[str]:
        """Names of all runs, newest first."""
        files = sorted(self.root.glob(f"{RUNS}/*/{RECORD}"), key=lambda file: file.stat().st_mtime, reverse=True)
        return [file.parent.name for file in files]

    def older_stages(self) -> int:
        """How many stages have keys of an earlier version of kdprobe, which this one does not look for."""
        count = 0
        for manifest in self.root.glob(f"{STAGES}/*/*/{MANIFEST}"):
            # A damaged one is reported when it is used.
            with suppress(DamagedStageError):
                count += is_older(self.checks.manifest(manifest.parent))
        return count

    def _origin(self, stage: Stage) -> dict[str, str]:
        """The inputs, and digests of what they hold."""
        inputs = {f"{needed.kind}/{needed.key}": self.folder(needed) for needed in stage.inputs}
        return {place: data_digest(self.checks.manifest(folder)) for place, folder in inputs.items()}

    def _seal(self, stage: Stage, folder: Path, seconds: float) -> None:
        what = {"kind": stage.kind, "name": stage.name, "key": stage.key}
        origin = {"inputs": [needed.key for needed in stage.inputs], MADE_FROM: self._origin(stage)}
        how = {"kdprobe": own_version(), "settings": stage.settings, "seconds": round(seconds, 3)}
        seal(folder, what | origin | how)
