"""A host with nothing but the plugin under test."""

from __future__ import annotations

import importlib
from typing import Any

from kdprobe.host.candidates import Candidate, builtin_candidates, installed_candidates
from kdprobe.host.discovery import discover
from kdprobe.host.registry import Host
from kdprobe.testing.contract import require


def host_with(plugin: Any, *, builtins: bool = False) -> Host:
    """Returns a host that knows the plugin under test and no other installed plugin.

    Args:
        plugin: The name of its entry point, the name of its module, or the module (or object) itself.
        builtins: Whether it also knows kdprobe's own plugins, for a test that runs more than the plugin.

    Raises:
        ContractError: The plugin does not load; the message has the reason and the traceback.
    """
    candidate = _candidate(plugin)
    provider = discover([candidate])[0]
    require(
        provider.status == "ok",
        f"The plugin {candidate.name!r} is {provider.status}: {provider.reason}\n{provider.trace}",
    )
    return Host([*(discover(builtin_candidates()) if builtins else []), provider])


def _candidate(plugin: Any) -> Candidate:
    if not isinstance(plugin, str):
        name = str(getattr(plugin, "__name__", type(plugin).__name__))
        return Candidate(name, "0", name, lambda: plugin)
    installed = {candidate.name: candidate for candidate in installed_candidates()}
    return installed.get(plugin) or Candidate(plugin, "0", plugin, lambda: importlib.import_module(plugin))
