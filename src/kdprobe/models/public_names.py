"""The names of models and files in what is published, which never contain a local path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdprobe.errors import UsageError
from kdprobe.models.reference import ModelRecord


def described(record: ModelRecord) -> str:
    """The model in words: its id on the Hub if that is known, and the digest of what was loaded."""
    identity = f"commit {record.digest}" if record.source == "hub" else f"SHA-256 {record.digest}"
    quantised = ""
    if record.quantisation:
        stored = f"stored as {record.quantisation} and dequantised"
        quantised = f", quantised ({record.quantisation})" if record.is_packed else f", {stored}"
    origin = {"folder": "a local folder", "gguf": "a local file"}.get(record.source, "")
    if origin:
        origin += "; " if record.hub_id else "; its id on the Hub is not known; "
    name = record.name if record.source == "package" else public_name(record)
    return f"{name} ({origin}{identity}{quantised})"


def public_name(record: ModelRecord) -> str:
    """The model's id on the Hub, else the name of its folder or file."""
    return record.hub_id or record.path.resolve().name


def without_paths(value: Any) -> Any:
    """Settings with every local path cut to its last part."""
    if isinstance(value, Mapping):
        return {key: without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_paths(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and _is_path(value) else value


def _is_path(text: str) -> bool:
    # `models/mine` may be a folder or an id on the Hub. `os.path.exists` also takes texts that no path can be.
    is_relative = "/" in text and os.path.exists(text)  # noqa: PTH110
    return is_relative or Path(text).is_absolute() or text.startswith(("~", "./", "../"))


def with_hub_id(record: ModelRecord, stated: str | None) -> ModelRecord:
    """A local model with the id on the Hub that its user states, if any.

    Raises:
        UsageError: Its id is known to be another.
    """
    if stated and record.hub_id not in {None, stated}:
        raise UsageError(
            f"student.hub_id is {stated!r}, but the id of the model {record.name!r} is {record.hub_id!r}.",
            "Remove student.hub_id; only models in local folders and files need it.",
        )
    return replace(record, hub_id=stated or record.hub_id)
