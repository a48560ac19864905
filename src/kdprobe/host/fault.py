"""Whose fault an exception is: a plugin's is told as the plugin's, wherever it was called."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Sequence

from kdprobe.host.provider import Provider


def plugin_at_fault(error: BaseException, providers: Sequence[Provider]) -> Provider | None:
    """The plugin in whose code an exception arose, or in what that code called; kdprobe's own are never at fault."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
        found = next((provider for provider in providers if _holds(provider, module)), found)
    return found


def _holds(provider: Provider, module: str) -> bool:
    plugin = provider.plugin
    own = inspect.getmodule(plugin if inspect.ismodule(plugin) else type(plugin))
    if plugin is None or own is None:
        return False
    top = own.__name__.partition(".")[0]
    return top != "kdprobe" and top == module.partition(".")[0]
