"""A plugin package as a third party would write it, really installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

from wheels import install

PACKAGE = Path(__file__).parents[2] / "plugins" / "kdprobe-strategies"


def test_an_installed_strategy_is_found_listed_and_usable(tmp_path):
    site = install(tmp_path / "site", PACKAGE)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    listed = subprocess.run(
        [sys.executable, "-m", "kdprobe", "plugins", "--json"], env=env, capture_output=True, text=True, check=True
    )
    (ours,) = [plugin for plugin in json.loads(listed.stdout) if plugin["name"] == "strategies"]
    assert ours["source"] == "kdprobe-strategies"
    assert ours["status"] == "ok"
    assert "step-back" in ours["provides"]["strategies"]
    used = subprocess.run([sys.executable, "-c", USE], env=env, capture_output=True, text=True, check=True)
    assert used.stdout.strip().startswith("Take a step back first")


USE = """
from kdprobe import Problem
from kdprobe.host import Host
render = Host().create("strategies", "step-back")
print(render(Problem("1", "How many?", "#### 2", "2")).teacher[0]["content"])
"""
