"""A strategy in a separate process, where strings have different hashes, and sets therefore a different order."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from kdprobe.problems.problem import Problem
from kdprobe.testing.contract import require

_CODE = """
import json, sys
from dataclasses import asdict
from kdprobe import Problem
from kdprobe.testing import host_with
request = json.load(sys.stdin)
render = host_with(request["module"]).create("strategies", request["name"], request["options"])
print(json.dumps({row["id"]: asdict(render(Problem(**row))) for row in request["problems"]}))
"""


def rendered_in_other_process(
    plugin: object, name: str, options: dict[str, Any] | None, problems: Sequence[Problem]
) -> dict[str, Any] | None:
    """Renders problems in a separate process.

    Args:
        plugin: The plugin that provides the strategy.
        name: The strategy.
        options: Its options, as in a config.
        problems: The problems to render.

    Returns:
        For each problem id, the pair as plain data; `None` if another process cannot import the plugin.
    """
    if not inspect.ismodule(plugin) or not _importable(plugin.__name__):
        return None
    request = {
        "module": plugin.__name__,
        "name": name,
        "options": options,
        "problems": [problem.as_row() for problem in problems],
    }
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    process = subprocess.run(
        [sys.executable, "-c", _CODE],
        input=json.dumps(request),
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    require(process.returncode == 0, f"The strategy {name!r} fails in a separate process:\n{process.stderr}")
    # The last line; anything that the strategy prints comes before it.
    rendered: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return rendered


def _importable(module: str) -> bool:
    """Whether a fresh process would find a module."""
    top = module.partition(".")[0]
    return any(finder.find_spec(top, None) for finder in sys.meta_path)
