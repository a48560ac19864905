"""Which parts of a plugin are in the keys of stages that use it."""

from __future__ import annotations

from typing import Any

from kdprobe.host.candidates import BUILTIN
from kdprobe.host.registry import Host


def plugin_key(host: Host, kind: str, name: str) -> dict[str, Any]:
    """The parts of a plugin that determine what it makes."""
    entry = host.get(kind, name)
    provider = entry.provider
    key = {"plugin": name, "format": entry.spec.format}
    if provider.source == BUILTIN:
        return key
    return key | {"package": provider.name, "version": provider.version, "source": provider.source_hash}
