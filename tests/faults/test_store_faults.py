"""A fault at every file operation of a store and its ledgers: repeating the work leaves the same store."""

import json
import os
import subprocess
import sys
from pathlib import Path

ALL = bool(os.environ.get("KDPROBE_ALL_FAULTS"))
"""Whether every operation fails in every way; otherwise every seventeenth, starting differently for each fault."""


def test_the_store_is_the_same_after_any_fault_and_nothing_is_left_over():
    script = Path(__file__).with_name("store_faults.py")
    done = subprocess.run([sys.executable, script, "1" if ALL else "17"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["operations"] > 100
    assert found["tried"] == 4 * found["operations"] if ALL else found["tried"] > 25
    assert found["wrong"] == []
