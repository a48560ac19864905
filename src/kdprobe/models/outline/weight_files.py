"""The files of a model's weights, which a download or a copy may have left incomplete."""

from __future__ import annotations

from kdprobe.errors import UsageError
from kdprobe.files import json_of
from kdprobe.models.outline.needed_weights import weights_needed
from kdprobe.models.reference import ModelRecord


def refuse_incomplete_files(record: ModelRecord) -> None:
    """Checks that all weight files exist and have the length given in their headers, if weights are needed.

    Raises:
        UsageError: One is missing or incomplete.
    """
    if not record.path.is_dir() or not (weights_needed() or (record.source == "folder" and record.has_weights)):
        return
    index = record.path / "model.safetensors.index.json"
    named: set[str] = set()
    if index.is_file():
        try:
            named = {str(name) for name in json_of(index.read_bytes())["weight_map"].values()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"The file {index} does not say which file each weight is in.", "Download it again."
            ) from error
    files = {file.name: file for file in record.path.glob("*.safetensors")}
    faults = [f"{name} is missing" for name in sorted(named - files.keys())]
    faults += [f"{name} is incomplete" for name in sorted(files) if not _is_whole(str(files[name]))]
    if faults:
        raise UsageError(f"The model {record.name!r} is incomplete: {', '.join(faults)}.", "Download or copy it again.")


def _is_whole(file: str) -> bool:
    """Whether a safetensors file has the length given in its header."""
    from safetensors import SafetensorError, safe_open

    try:
        # The framework only matters for tensors, none of which is read; torch would be imported.
        with safe_open(file, framework="np"):
            return True
    except SafetensorError:
        return False
