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
from kdprobe.api.faults import in_a_sentence
from kdprobe.errors import KdprobeError
from kdprobe.redaction import said

if TYPE_CHECKING:
    from kdprobe.host.registry import Host


def sentence(error: BaseException, hosts: Sequence[Host], *, keeps: bool) -> str:
    """What to say in place of a traceback.

    Args:
        error: Whatever ended the command.
        hosts: The hosts that were opened, whose plugins may be at fault.
        keeps: Whether what the command finished is kept.
    """
    if isinstance(error, KdprobeError):
        return str(error)
    told = in_a_sentence(
        error,
        hosts,
        kept="What was finished is kept. " if keeps else "",
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
