"""Protects the host from plugins that print into results, end the program, or fail without a clear message.

It also decides whose fault an exception is: a plugin's is reported as such, wherever it was called.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from kdprobe.errors import first_line, quoted
from kdprobe.host.provider import Provider
from kdprobe.host.sources import module_of

Fault = Literal["broken", "incompatible"]
_RELATIVE = "attempted relative import"


class PluginError(Exception):
    """A plugin does not fit the host; the message is a sentence for its author."""


class IncompatibleError(PluginError):
    """A plugin was written for a different version of kdprobe."""


@contextlib.contextmanager
def results_kept_clean() -> Iterator[None]:
    """Redirects stdout to stderr while the block runs, for Python, C code and child processes."""
    for stream in {sys.stdout, sys.__stdout__} - {None}:
        stream.flush()  # type: ignore[union-attr]
    saved = _stdout_to_stderr()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


def _stdout_to_stderr() -> int | None:
    """Points file descriptor 1 to the target of 2; returns a copy of it, or `None` if one of them is closed."""
    try:
        saved = os.dup(1)
    except OSError:
        return None
    try:
        os.dup2(2, 1)
    except OSError:
        os.close(saved)
        return None
    return saved


def blame(error: BaseException, source: str) -> tuple[Fault, str]:
    """The kind of fault behind a plugin's exception, and a sentence about it.

    Args:
        error: The exception raised while loading the plugin.
        source: The distribution or file that the plugin comes from.
    """
    missing = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    match error:
        case IncompatibleError():
            return "incompatible", str(error)
        case PluginError():
            return "broken", str(error)
        case ImportError() if missing == "kdprobe":
            return (
                "incompatible",
                f"It needs a different version of kdprobe: {first_line(error)}. Upgrade kdprobe, or change {source}.",
            )
        case ImportError() if missing or _RELATIVE in str(error):
            return "broken", _what_it_needs(error, missing, Path(source))
        case SystemExit():
            return "broken", f"It exits the program when it is loaded: {quoted(error)}."
        case _:
            return "broken", quoted(error)


def _what_it_needs(error: ImportError, missing: str, source: Path) -> str:
    """Describes a failed import; a single-file plugin cannot import modules next to it."""
    beside = (source.parent / f"{missing}.py").is_file() or (source.parent / missing / "__init__.py").is_file()
    if source.suffix == ".py" and source.is_file() and (_RELATIVE in str(error) or (missing and beside)):
        return (
            f"A single-file plugin cannot import modules next to it ({first_line(error)}). Make it a folder: move "
            f"{source.name} to {source.stem}/__init__.py, put the other module next to it, and import "
            f"it with `from .{missing or 'other'} import ...`."
        )
    if not isinstance(error, ModuleNotFoundError):
        return quoted(error)
    return f"It needs the module {missing!r}, which is not installed; install what {source} requires."


def plugin_at_fault(error: BaseException, providers: Sequence[Provider]) -> Provider | None:
    """The plugin in whose code an exception was raised, directly or in code it called; never one of kdprobe's own."""
    by_package: dict[str, Provider] = {}
    for provider in providers:
        if module := module_of(provider.plugin):
            by_package.setdefault(_package(module.__name__), provider)
    by_package.pop("kdprobe", None)
    culprit = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        culprit = by_package.get(_package(str(frame.f_globals.get("__name__", ""))), culprit)
    return culprit


def _package(module: str) -> str:
    return module.partition(".")[0]
