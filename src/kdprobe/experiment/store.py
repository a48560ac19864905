"""The store: stages by the hash of everything that determines them, runs by name.

A stage is run in a folder of its own and then renamed into place. Its manifest is written last, and everything is on
disk before its scratch folder is removed, so a stage that exists is complete. Contents are checked when first read.
Two runs on one store wait for each other's stages instead of running them twice.

    STORE/stages/KIND/KEY/…, stage.json     finished stages
    STORE/making/KEY-WHO/                   stages in progress; remains of killed runs are removed
    STORE/making/KEY.scratch/               partial work that a killed stage resumes from
    STORE/aside/KIND-KEY-N/                 stages found damaged
    STORE/remembered/                       what plans found out about models and texts, for later plans
    STORE/runs/NAME/run.json, report.html   a run's record and page
    STORE/.using-PROCESS-N.lock             processes that write or read stages
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from kdprobe.console.messages import warn
from kdprobe.errors import doing
from kdprobe.experiment.integrity.checks import Checks, DamagedStageError
from kdprobe.experiment.integrity.manifest import MADE_FROM, MANIFEST, data_digest, is_older, seal
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
from kdprobe.experiment.stages.stage import Stage
from kdprobe.files import sync
from kdprobe.host.candidates import own_version
from kdprobe.models.outline.device import machine

Status = Literal["done", "missing", "damaged"]
_LOOK_SECONDS = 0.5


class Store:
    """A folder of stages and runs.

    Args:
        root: The folder; created if it does not exist.

    Attributes:
        checks: Remembers which files were read and found undamaged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checks = Checks()

    def hold(self) -> None:
        """Keeps other processes from pruning the store for as long as this object lives."""
        if self.root.is_dir():
            use(self.root, self)

    def prepare(self) -> None:
        """Creates and holds the folders, and clears what dead processes left in them.

        Raises:
            KdprobeError: They are not writable, or are on different disks.
        """
        make_folders(self.root)
        self.hold()
        clear(self.root)

    def folder(self, stage: Stage) -> Path:
        """Where a stage is, or will be."""
        return self.folder_of(stage.kind, stage.key)

    def folder_of(self, kind: str, key: str) -> Path:
        """Likewise, for a stage named in a record."""
        return self.root / STAGES / kind / key

    def has(self, stage: Stage) -> bool:
        """Whether a stage is finished."""
        return (self.folder(stage) / MANIFEST).is_file()

    def status(self, stage: Stage) -> Status:
        """Whether a stage is finished and undamaged, judging by its manifest and the sizes of its files."""
        if not self.has(stage):
            return "missing"
        try:
            self.checks.sizes(self.folder(stage))
        except DamagedStageError:
            return "damaged"
        return "done"

    def is_whole(self, stage: Stage) -> bool:
        """Whether a stage is finished and undamaged, judging by its content, which is read once."""
        return self._damage(stage) is None

    def make(self, stage: Stage, launch: str | None = None) -> bool:
        """Runs a stage unless it is finished; a damaged stage is set aside and rerun.

        Args:
            stage: The stage.
            launch: The name of the launch whose other processes may `take_part`, or `None`.

        Returns:
            Whether it had to be run.

        Raises:
            DamagedStageError: One of its inputs is damaged.
        """
        if self._damage(stage) is None:
            return False
        making, name = self.root / MAKING, f"{stage.kind} {stage.name}"
        with exclusive(making / f"{stage.key}{LOCK}", f"Another process is running {name}; waiting for it."):
            if self._damage(stage) is None:
                return False
            self._set_aside(stage)
            clear_remains(making, stage.key)
            inputs = self._inputs(stage)
            scratch = scratch_for(making, stage.key, self._origin(stage))
            # Besides what it was begun from; the seconds of a resumed stage are not all of its seconds.
            resumed = len([*scratch.iterdir()]) > 1
            folder = self._making(stage, launch or str(os.getpid()))
            folder.mkdir()
            started = time.monotonic()
            with doing(f"running {name}"):
                stage.run(folder, inputs, scratch)
            self._seal(stage, folder, time.monotonic() - started, resumed=resumed)
            self._put_in_place(stage, folder)
            shutil.rmtree(scratch, ignore_errors=True)
        return True

    def _damage(self, stage: Stage) -> str | None:
        """Why a stage cannot be used as it is, or `None`."""
        if not self.has(stage):
            return f"it has no {MANIFEST}"
        try:
            self.checks.whole(self.folder(stage))
        except DamagedStageError as error:
            return ", ".join(error.faults)
        return None

    def _set_aside(self, stage: Stage) -> None:
        """Moves a damaged stage out of the way; only the holder of its lock may call this."""
        if self.folder(stage).exists():
            damage = self._damage(stage)
            aside = set_aside(self.root, self.folder(stage))
            self.checks.forget(self.folder(stage))
            warn(f"{stage.kind} {stage.name} is damaged: {damage}. It was moved to {aside} and is being rerun.")

    def _put_in_place(self, stage: Stage, folder: Path) -> None:
        target = self.folder(stage)
        target.parent.mkdir(exist_ok=True)
        sync(target.parent.parent)
        # Something may have appeared there meanwhile: the stage itself, if locks do not work on this file system.
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
        """Takes part in running a stage once the main process of a launch starts it; returns if there is nothing to do.

        Polls the store, since a collective wait of hours would hit its time limit. What this process writes is
        discarded, except for the scratch folder, which all processes share.
        """
        while not self._making(stage, launch).is_dir():
            if self._damage(stage) is None:
                return
            time.sleep(_LOOK_SECONDS)
        with TemporaryDirectory() as temporary:
            scratch = self.root / MAKING / f"{stage.key}{SCRATCH}"
            stage.run(Path(temporary), self._inputs(stage), scratch)

    def _making(self, stage: Stage, maker: str) -> Path:
        return self.root / MAKING / f"{stage.key}-{maker}"

    def run_folder(self, name: str) -> Path:
        """The folder of a run."""
        return self.root / RUNS / name

    def runs(self) -> list[str]:
        """Names of all runs, newest first."""
        files = sorted(self.root.glob(f"{RUNS}/*/{RECORD}"), key=lambda file: file.stat().st_mtime, reverse=True)
        return [file.parent.name for file in files]

    def manifests(self) -> Iterator[dict[str, Any]]:
        """The manifests of all stages; a damaged stage is left out, and reported when it is used."""
        for manifest in self.root.glob(f"{STAGES}/*/*/{MANIFEST}"):
            with suppress(DamagedStageError):
                yield self.checks.manifest(manifest.parent)

    def older_stages(self) -> int:
        """The number of stages with keys from an earlier version of kdprobe, which this version does not use."""
        return sum(map(is_older, self.manifests()))

    def _origin(self, stage: Stage) -> dict[str, str]:
        """The inputs, with digests of their content."""
        inputs = {f"{needed.kind}/{needed.key}": self.folder(needed) for needed in stage.inputs}
        return {place: data_digest(self.checks.manifest(folder)) for place, folder in inputs.items()}

    def _seal(self, stage: Stage, folder: Path, seconds: float, *, resumed: bool) -> None:
        what = {"kind": stage.kind, "name": stage.name, "key": stage.key}
        origin = {"inputs": [needed.key for needed in stage.inputs], MADE_FROM: self._origin(stage)}
        how = {"kdprobe": own_version(), "settings": stage.settings}
        took = {"seconds": round(seconds, 3), "units": stage.units, "resumed": resumed, "machine": machine()}
        seal(folder, what | origin | how | took)
