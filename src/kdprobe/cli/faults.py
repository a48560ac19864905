"""What the user sees of an error: a sentence, and a log with the traceback if they cannot fix it."""

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
from kdprobe.api.faults import in_a_sentence
from kdprobe.errors import KdprobeError
from kdprobe.redaction import said

if TYPE_CHECKING:
    from kdprobe.host.registry import Host


def sentence(error: BaseException, hosts: Sequence[Host], *, keeps: bool) -> str:
    """Returns the message to show instead of a traceback.

    Args:
        error: The error that ended the command.
        hosts: The opened hosts, whose plugins may be at fault.
        keeps: Whether the command's finished work is kept.
    """
    if isinstance(error, KdprobeError):
        return str(error)
    told = in_a_sentence(
        error,
        hosts,
        kept="Finished work is saved. " if keeps else "",
        plugin_hint="kdprobe --debug shows where.",
        unknown_hint=lambda: _where_the_traceback_is(error),
    )
    return str(told)


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
