"""What the user sees of an error: a sentence, and a log with the traceback where they cannot fix it."""

from __future__ import annotations

import datetime as dt
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdprobe import __version__
from kdprobe.errors import KdprobeError, doing_when
from kdprobe.redaction import said

if TYPE_CHECKING:
    from kdprobe.host.provider import Provider
    from kdprobe.host.registry import Host

_FULL_DISK = (
    "no space left on device",
    "disk is full",
    "disk quota exceeded",
    "inline_container",
    "pytorchstreamwriter",
)
"""The last two are what torch says when it cannot write a file to its end."""
_FULL_MEMORY = ("memoryerror", "out of memory", "not enough memory", "can't allocate memory", "unable to allocate")


def sentence(error: BaseException, hosts: Sequence[Host], *, keeps: bool) -> str:
    """What to say in place of a traceback.

    Args:
        error: Whatever ended the command.
        hosts: The hosts that were opened, whose plugins may be at fault.
        keeps: Whether what the command finished is kept.
    """
    if isinstance(error, KdprobeError):
        return str(error)
    return str(_as_told(error, hosts, "What was finished is kept. " if keeps else ""))


def _as_told(error: BaseException, hosts: Sequence[Host], kept: str) -> KdprobeError:
    what = f"{_described(error)}{doing_when(error)}"
    words = f"{type(error).__name__} {error}".lower()
    if any(text in words for text in _FULL_DISK):
        return KdprobeError(what, f"{kept}Free some space on the disk.")
    if any(text in words for text in _FULL_MEMORY):
        return KdprobeError(what, f"{kept}Use a smaller batch or model, or more memory.")
    if plugin := _plugin_at_fault(error, hosts):
        source = f"{plugin.source} {plugin.version}".strip()
        return KdprobeError(
            f"The plugin {plugin.name} ({source}) failed: {what}",
            f"{kept}kdprobe --debug shows where.",
        )
    if isinstance(error, ConnectionError | TimeoutError):
        return KdprobeError(what, f"{kept}Check the network.")
    if isinstance(error, OSError):
        return KdprobeError(what, f"{kept}Check the disk and its permissions.")
    return KdprobeError(
        f"kdprobe failed, or a library that it uses: {what}",
        f"{kept}{_where_the_traceback_is(error)}",
    )


def _described(error: BaseException) -> str:
    from kdprobe.host.guard import first_line

    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    return f"{type(error).__name__}: {first_line(error)}"


def _where_the_traceback_is(error: BaseException) -> str:
    try:
        return f"The traceback is in {_log(error)}; please report it."
    except OSError:
        return "kdprobe --debug shows the traceback; please report it."


def traceback_of(error: BaseException) -> str:
    """The traceback, without secrets."""
    return said("".join(traceback.format_exception(error)))


def _log(error: BaseException) -> Path:
    from platformdirs import user_log_path

    now = dt.datetime.now().astimezone()
    folder = user_log_path("kdprobe", ensure_exists=True)
    file = folder / f"{now:%Y%m%d-%H%M%S}-{os.getpid()}.log"
    head = f"kdprobe {__version__}, Python {platform.python_version()}, {sys.platform}, {now.isoformat()}\n"
    file.write_text(head + traceback_of(error), encoding="utf-8", errors="backslashreplace")
    return file


def _plugin_at_fault(error: BaseException, hosts: Sequence[Host]) -> Provider | None:
    from kdprobe.host.guard import plugin_at_fault

    return next((plugin for host in hosts if (plugin := plugin_at_fault(error, host.providers))), None)
