"""Every file of a stage is checked once, when it is first read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.experiment.integrity.manifest import MADE_FROM, data_digest, fault, read_manifest
from kdprobe.files import UnreadableError


class DamagedStageError(KdprobeError):
    """A stage was changed after it was written.

    Attributes:
        folder: The folder of the stage.
        faults: What is wrong with each of its files.
    """

    def __init__(self, folder: Path, faults: list[str]) -> None:
        self.folder = folder
        self.faults = faults
        super().__init__(
            f"The {folder.parent.name} stage {folder.name} is damaged: {', '.join(faults)}.",
            "Run the experiment again: the damaged stage will be moved aside and rerun.",
        )


class Checks:
    """Remembers what was checked, so that no file is hashed twice."""

    def __init__(self) -> None:
        self._manifests: dict[Path, dict[str, Any]] = {}
        self._checked: set[Path] = set()

    def manifest(self, folder: Path) -> dict[str, Any]:
        """The manifest of a stage.

        Raises:
            DamagedStageError: It is missing or damaged.
        """
        if folder not in self._manifests:
            try:
                self._manifests[folder] = read_manifest(folder)
            except UnreadableError as error:
                raise DamagedStageError(folder, [str(error)]) from error
        return self._manifests[folder]

    def file(self, folder: Path, name: str) -> Path:
        """The path of a stage's file, after checking its content.

        Raises:
            DamagedStageError: The file or the manifest is missing or damaged.
        """
        return self._files(folder, [name])[0]

    def tables(self, folder: Path) -> list[Path]:
        """The paths of a stage's tables; raises like `file`."""
        return self._files(folder, [name for name in self.manifest(folder)["files"] if name.endswith(".parquet")])

    def whole(self, folder: Path) -> Path:
        """A stage's folder, after checking the content of all its files; raises like `file`."""
        self._files(folder, list(self.manifest(folder)["files"]))
        return folder

    def sizes(self, folder: Path) -> None:
        """Checks only the manifest and the sizes; raises like `file`."""
        files = self.manifest(folder)["files"]
        faults = [*self._origin(folder), *(fault(folder, name, entry, content=False) for name, entry in files.items())]
        if any(faults):
            self.forget(folder)
            raise DamagedStageError(folder, list(filter(None, faults)))

    def made(self, folder: Path) -> None:
        """Records that this process has just written a stage."""
        self.forget(folder)
        self._checked.update(folder / name for name in self.manifest(folder)["files"])

    def forget(self, folder: Path) -> None:
        """Forgets a stage that was moved or removed."""
        self._manifests.pop(folder, None)
        self._checked = {file for file in self._checked if folder not in file.parents}

    def _files(self, folder: Path, names: list[str]) -> list[Path]:
        unchecked = [name for name in names if folder / name not in self._checked]
        if self._faults(folder, unchecked):
            # Another process may have rerun the stage since its manifest was read.
            self.forget(folder)
            if faults := self._faults(folder, unchecked):
                self.forget(folder)
                raise DamagedStageError(folder, faults)
        self._checked.update(folder / name for name in unchecked)
        return [folder / name for name in names]

    def _faults(self, folder: Path, names: list[str]) -> list[str]:
        files = self.manifest(folder)["files"]
        faults = (fault(folder, name, files[name]) if name in files else f"{name} is missing" for name in names)
        return [*self._origin(folder), *filter(None, faults)]

    def _origin(self, folder: Path) -> list[str]:
        """Inputs that were rerun since with different content; a stage and its inputs belong together."""
        others = []
        for place, known in self.manifest(folder).get(MADE_FROM, {}).items():
            # A damaged input is reported when it is read.
            with suppress(DamagedStageError):
                if data_digest(self.manifest(folder.parents[1] / place)) != known:
                    others.append(f"the {place.replace('/', ' stage ')} that it was computed from has changed since")
        return others
