"""The names of models in published files, which never contain a local path."""

from __future__ import annotations

from pathlib import Path

from kdprobe.files import json_of
from kdprobe.models.reference import HUB_ID, SMOLLM2, ModelRecord

_HUB_IDS = {SMOLLM2: "HuggingFaceTB/SmolLM2-135M-Instruct"}


def hub_id(record: ModelRecord) -> str | None:
    """The model's id on the Hub; for a folder, the one that its configuration names, if any."""
    if record.source == "hub":
        return record.name
    if record.source == "package":
        return _HUB_IDS.get(record.name)
    file = record.path / "config.json"
    named = json_of(file.read_bytes()).get("_name_or_path") if record.path.is_dir() and file.is_file() else None
    is_id = isinstance(named, str) and HUB_ID.fullmatch(named) and not Path(named).exists()
    return named if is_id else None


def described(record: ModelRecord) -> str:
    """The model in words, without the folder it is in."""
    name = record.name if record.source in {"hub", "package"} else public_name(record)
    identity = f"commit {record.digest}" if record.source == "hub" else f"SHA-256 {record.digest}"
    quantised = f", stored as {record.quantisation} and dequantised" if record.quantisation else ""
    return f"{name} ({identity}{quantised})"


def public_name(record: ModelRecord) -> str:
    """The model's id on the Hub, else the name of its folder or file."""
    return hub_id(record) or record.path.name
