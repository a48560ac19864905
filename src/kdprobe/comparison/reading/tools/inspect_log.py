"""The forms of inspect_ai's logs: `.eval`, a zip archive with a member for each sample, and `.json`, one object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from kdprobe.comparison.reading.delimited import Rows
from kdprobe.comparison.reading.zipped import open_zip
from kdprobe.files import json_of

LOG = "an inspect_ai log"
"""The key of the first row, which has the log's header."""
_VERSION = 2
_HEADERS = ("header.json", "_journal/start.json")
"""Members with the header: of a finished log, and of one whose evaluation is still running or was killed."""
_SAMPLE, _PIECES = re.compile(r"samples/.+_epoch_\d+\.json"), re.compile(r"samples/.+_epoch_\d+/sample\.json")
"""Members with a sample, and with the main part of a sample that is stored in pieces."""


def is_log(value: Any) -> bool:
    """Whether an object is a whole log."""
    return (
        isinstance(value, dict)
        and {"eval", "status"} <= set(value)
        and {"task", "model"} <= set(object_of(value["eval"]))
    )


def json_log_rows(log: Mapping[str, Any]) -> Rows:
    """A log that is a single object, as rows: its header, then its samples."""
    yield 0, {LOG: {key: value for key, value in log.items() if key != "samples"}}
    kept = log.get("samples")
    yield from ((0, sample) for sample in (kept if isinstance(kept, list) else []))


def zip_log_rows(file: Path) -> Rows:
    """A log that is a zip archive, as rows: its header, then its samples.

    Raises:
        ValueError: It is another archive, or damaged.
    """
    with open_zip(file) as archive:
        header = next((name for name in _HEADERS if name in archive.names), None)
        if header is None:
            raise ValueError("it is a zip archive or a spreadsheet; first unpack it, or export it as CSV")
        yield 0, {LOG: json_of(archive.read(header))}
        if any(_PIECES.fullmatch(name) for name in archive.names):
            raise ValueError(
                "it is an inspect_ai log that stores samples in pieces, which kdprobe does not read; convert it with "
                "`inspect log convert --to json`"
            )
        yield from ((0, json_of(archive.read(name))) for name in archive.names if _SAMPLE.fullmatch(name))


def header_of(value: Any) -> Mapping[str, Any]:
    """A log's header, checked.

    Raises:
        ValueError: It is of another version, or not one.
    """
    header = object_of(value)
    if not {"task", "model"} <= set(object_of(header.get("eval"))):
        raise ValueError(f"it looks like {LOG}, but its header lacks a task or a model")
    if (version := header.get("version", _VERSION)) != _VERSION:
        raise ValueError(
            f"it is {LOG} in format version {version!s:.20}; kdprobe reads version {_VERSION}. Write it with another "
            "version of inspect_ai, or export its answers as a table"
        )
    return header


def object_of(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list; none if the value is anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value is a positive integer."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
