"""Whose fault an exception is: a plugin's is reported as the plugin's, wherever it was called."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from kdprobe.host.provider import Provider, module_of


def plugin_at_fault(error: BaseException, providers: Sequence[Provider]) -> Provider | None:
    """The plugin in whose code an exception arose, or in what that code called; kdprobe's own are never at fault."""
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
