"""Ends vLLM's processes together with kdprobe, even if kdprobe is killed; otherwise they would keep their memory."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

KDPROBE = "KDPROBE_VLLM_STARTED_BY"
"""The environment variable with kdprobe's process id, set while it starts vLLM."""
_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def end_with_parent() -> None:
    """Has Linux kill this process when its parent ends.

    vLLM calls this in all of its processes, as it does every `vllm.general_plugins`; it changes only those that kdprobe
    started, directly or not.
    """
    parent = multiprocessing.parent_process()
    started_by = os.environ.get(KDPROBE)
    if sys.platform != "linux" or parent is None or started_by in {None, str(os.getpid())}:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if not parent.is_alive():
        # It ended before the call.
        signal.raise_signal(signal.SIGKILL)
