"""What the start of the command line must not import; `benchmarks/startup.py` measures how long it takes."""

import os
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "numpy", "pandas", "scipy", "pyarrow", "plotly", "datasets", "lm_eval", "peft"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["plugins"], ["plugins", "builtin:distill", "--json"], ["run", "--help"]]
)
def test_no_heavy_library_is_imported(arguments):
    code = f"""
import atexit, sys
from kdprobe.cli import main
atexit.register(lambda: print("HEAVY", sorted({HEAVY!r} & sys.modules.keys())))
main({arguments!r})
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.endswith("HEAVY []\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_break_no_plugin(closed):
    command = f"exec {sys.executable} -m kdprobe plugins --no-plugins --json {closed}"
    told = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "KDPROBE_STRICT_PLUGINS": "1"}, capture_output=True, check=False
    )
    assert told.returncode == 0
