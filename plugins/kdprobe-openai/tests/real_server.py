"""Real servers in a process of their own."""

import socket
import subprocess
import time
from contextlib import contextmanager

import httpx
import pytest


@contextmanager
def started(command_of, log, *, within_seconds, env=None):
    """Runs a server while the block runs; yields its address.

    Args:
        command_of: The command, given a port.
        log: The file for what it prints.
        within_seconds: How long it may take to start.
        env: Its environment; by default, that of this process.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("w") as sink, subprocess.Popen(command_of(port), stdout=sink, stderr=sink, env=env) as process:
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, log, within_seconds)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def _wait_for(address, process, log, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(address, timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")
