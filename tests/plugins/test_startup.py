"""What every start of the command line must not import; how long it takes, `benchmarks/startup.py` measures."""

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
