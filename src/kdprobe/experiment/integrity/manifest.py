"""The manifest of a stage: every file with its size and SHA-256, written last and sealed with a checksum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdprobe.files import UnreadableError, below, digest, follow_umask, read_sealed, sha256, sync_all, write_sealed

MANIFEST = "stage.json"
SIZE, SHA256 = "size", "sha256"
KEY_FORMAT = 2
"""Increased when keys are computed differently; stages of earlier formats are left alone and never found again."""
MADE_FROM = "made_from"
KEY_LENGTH = 20
_DATA = (".parquet", ".safetensors", "selection.json")
"""Endings of the files that other stages are computed from; other files may contain times, which always differ."""
_CHANGED = "was changed after it was written"


def stage_key(kind: str, settings: Any, inputs: list[str]) -> str:
    """The key of a stage with these settings and the keys of its inputs."""
    return digest({"kind": kind, "settings": settings, "inputs": inputs})[:KEY_LENGTH]


def is_older(manifest: dict[str, Any]) -> bool:
    """Whether a stage's key comes from an earlier version of kdprobe."""
    return manifest.get("key_format") != KEY_FORMAT


def seal(folder: Path, about: dict[str, Any]) -> None:
    """Writes a stage's manifest, and returns once the whole folder is on disk.

    Args:
        folder: The folder of the stage.
        about: Further entries of the manifest.
    """
    files = {
        file.relative_to(folder).as_posix(): {SIZE: file.stat().st_size, SHA256: sha256(file)}
        for file in sorted(below(folder))
        if file.is_file()
    }
    follow_umask(folder)
    sync_all(folder)
    write_sealed(folder / MANIFEST, {**about, "key_format": KEY_FORMAT, "files": files})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads a stage's manifest.

    Raises:
        UnreadableError: It is missing or was changed.
    """
    try:
        # The first version wrote no files.
        manifest = {"files": {}, **read_sealed(folder / MANIFEST)}
    except UnreadableError as error:
        raise UnreadableError(f"{MANIFEST} {error}") from error
    place = (manifest.get("kind"), manifest.get("key"))
    if not isinstance(manifest["files"], dict) or place != (folder.parent.name, folder.name):
        raise UnreadableError(f"{MANIFEST} belongs to a different stage")
    return manifest


def fault(folder: Path, name: str, entry: Any, *, content: bool = True) -> str | None:
    """What is wrong with a file of a stage, or `None`.

    Args:
        folder: The folder of the stage.
        name: The file's name in the manifest.
        entry: Its entry in the manifest; earlier versions recorded only the size.
        content: Whether to check the content, or only the size.
    """
    file = folder / name
    size, checksum = (entry.get(SIZE), entry.get(SHA256)) if isinstance(entry, dict) else (entry, None)
    try:
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size or (content and checksum is not None and sha256(file) != checksum):
            return f"{name} {_CHANGED}"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return None


def data_digest(manifest: dict[str, Any]) -> str:
    """A digest of the data other stages are computed from: equal if a stage is rerun with the same outcome."""
    return digest({name: entry for name, entry in manifest["files"].items() if name.endswith(_DATA)})


def has_checksums(manifest: dict[str, Any]) -> bool:
    """Whether the contents of the files can be checked; earlier versions recorded only sizes."""
    return all(isinstance(entry, dict) for entry in manifest["files"].values())
