"""Logs written by inspect_ai, and modified copies."""

import json
import zipfile
from pathlib import Path

from kdprobe.comparison.reading.zipped import open_zip

LOGS = Path(__file__).parent / "data" / "tool_logs"


def members(name):
    with open_zip(LOGS / name) as archive:
        return {member: archive.read(member) for member in archive.names}


def rezipped(file, contents, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content if isinstance(content, bytes | str) else json.dumps(content))
    return file


def changed(file, name, **changes):
    """A JSON log with changed values; `samples` is a function of the samples."""
    log = json.loads((LOGS / name).read_text())
    change = changes.pop("samples", None)
    log |= changes
    if change:
        log["samples"] = [change(sample) for sample in log["samples"]]
    file.write_text(json.dumps(log))
    return file
