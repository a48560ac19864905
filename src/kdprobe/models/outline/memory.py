"""Remembers on disk what was computed from a model's files and from texts, for the next plan.

An entry is named after the digest of everything that determines it, so it can be old but never wrong. An entry that is
damaged counts as missing and is written again. If nothing can be written, everything is computed each time.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.files import CHECKSUM, digest, json_of, write_sealed
from kdprobe.models.cache import cache_folder
from kdprobe.models.installed import version

FORMAT = 2
"""Raise it when the code behind an entry computes something else."""
_LIBRARIES = (
    *("kdprobe", "torch", "transformers"),
    *("tokenizers", "jinja2", "sentencepiece", "tiktoken", "protobuf", "mistral-common"),
)
"""Whatever loads configurations and tokenizers, and renders templates."""
_MISSING = object()


class Memory:
    """Results, keyed by what determines them.

    Args:
        folder: Where they are kept, created when needed. Without one, nothing is remembered.
        general: Remembers what holds for every experiment, such as a model's modules; by default, this memory does.
    """

    def __init__(self, folder: Path | None = None, general: Memory | None = None) -> None:
        self.folder = folder
        self.general = general or self

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered."""
        return self.folder is None or not self.folder.is_dir()

    def knows(self, what: str, inputs: Mapping[str, Any]) -> bool:
        """Whether there is an entry for a result, with arguments as for `recall`; it may be damaged."""
        return self.folder is not None and _entry(self.folder, what, inputs)[1].is_file()

    def recall(self, what: str, inputs: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """A result, computed only if none is remembered for the same inputs and versions.

        Args:
            what: What is computed.
            inputs: Everything that determines the result besides the versions of libraries, ready for JSON.
            compute: Computes it, ready for JSON. What it raises is not remembered.
        """
        if self.folder is None:
            return compute()
        key, file = _entry(self.folder, what, inputs)
        result = _read(file, key)
        if result is _MISSING:
            result = compute()
            with suppress(OSError):
                self.folder.mkdir(parents=True, exist_ok=True)
                write_sealed(file, {"key": key, "what": what, "result": result})
        return result


def _entry(folder: Path, what: str, inputs: Mapping[str, Any]) -> tuple[str, Path]:
    """The key of a result, and its file."""
    key = digest({"what": what, "inputs": inputs, "format": FORMAT, "versions": versions()})
    return key, folder / f"{key}.json"


def general_memory() -> Memory | None:
    """What holds for every experiment, in the cache folder; `None` where nothing can be written there."""
    try:
        return Memory(cache_folder() / "remembered")
    except KdprobeError:
        return None


@cache
def versions() -> dict[str, str]:
    """Versions of the libraries whose code is behind every result."""
    return {"python": platform.python_version(), **{library: version(library) for library in _LIBRARIES}}


def _read(file: Path, key: str) -> Any:
    """The result in a file, or `_MISSING`."""
    try:
        data = json_of(file.read_bytes()) if file.is_file() else None
    except (OSError, ValueError):
        return _MISSING
    if not isinstance(data, dict) or data.pop(CHECKSUM, None) != digest(data) or data.get("key") != key:
        return _MISSING
    return data["result"]
