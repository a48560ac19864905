"""What the benchmarks write with `--json`: their result, and the machine that it is of."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_result(file: Path, result: Mapping[str, Any]) -> None:
    """Writes a result and the machine as JSON."""
    machine = {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    file.write_text(json.dumps({**result, "machine": machine}, indent=2) + "\n", encoding="utf-8")
