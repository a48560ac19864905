"""What was finished so far, on disk, so that a killed evaluation goes on and repeats nothing.

A line of the file is a checksum and, as JSON, what was finished at once, a batch say. It is on the disk before the next
one begins: either all of a batch is there or nothing of it, and what is left falls into the very batches that it would
have been in without the interruption.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdprobe.console import warn
from kdprobe.files import sync


class Ledger:
    """Entries by name; those of an earlier call are read from the file.

    Args:
        file: Where they are kept; `None` keeps them in memory only.
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
                warn(f"{damaged} lines of {file} are damaged; what they held is worked out again.")
            if torn:
                # The beginning of a line that a kill cut short.
                os.truncate(file, file.stat().st_size - len(torn))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> Any:
        return self._entries[name]

    def add(self, entries: Mapping[str, Any]) -> None:
        """Keeps entries that were finished together; when this returns they are on the disk."""
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
