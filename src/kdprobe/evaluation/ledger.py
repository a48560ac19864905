"""Saves finished work to disk, so that an interrupted evaluation resumes without repeating anything.

Each line of the file is a checksum and, as JSON, the entries that were finished together, such as a batch. It is on
disk before the next batch begins, so a batch is saved completely or not at all, and the remaining work is split into
the same batches as without the interruption.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdprobe.console.messages import warn
from kdprobe.files import sync
from kdprobe.words import counted


class Ledger:
    """Entries by name, including those of earlier processes, which are read from the file.

    Args:
        file: The file of the entries; `None` keeps them in memory only.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._entries: dict[str, Any] = {}
        if file is not None and file.is_file():
            whole, _, torn = file.read_bytes().rpartition(b"\n")
            damaged = 0
            for line in whole.split(b"\n") if whole else []:
                checksum, _, text = line.partition(b" ")
                if checksum == _checksum(text):
                    self._entries |= json.loads(text)
                else:
                    damaged += 1
            if damaged:
                are, their = ("is", "its") if damaged == 1 else ("are", "their")
                warn(f"{counted(damaged, 'line')} of {file} {are} damaged; {their} contents will be recomputed.")
            if torn:
                # The beginning of a line whose writing was interrupted.
                os.truncate(file, file.stat().st_size - len(torn))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> Any:
        return self._entries[name]

    def add(self, entries: Mapping[str, Any]) -> None:
        """Saves entries that were finished together; they are on disk when this returns."""
        self._entries |= entries
        if self._file is not None:
            text = json.dumps(entries, ensure_ascii=True).encode()
            is_new = not self._file.exists()
            with self._file.open("ab") as stream:
                stream.write(b"%b %b\n" % (_checksum(text), text))
                stream.flush()
                os.fsync(stream.fileno())
            if is_new:
                sync(self._file.parent)


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
