"""Guarded discovery: a broken plugin is reported with its reason and never takes the host down."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Literal

import pluggy

from kdprobe.host import hookspecs
from kdprobe.host.candidates import Candidate, builtin_candidates, installed_candidates
from kdprobe.host.specs import Spec

Status = Literal["ok", "broken", "shadowed"]


@dataclass(frozen=True)
class Provider:
    """A plugin after discovery.

    Attributes:
        name: The entry point's name, or `builtin:<package>`.
        version: The version of the distribution it comes from.
        source: `builtin`, or the distribution that installed it.
        status: `ok`, `broken` (with a reason), or `shadowed` by another of the same name.
        reason: Why it is not `ok`, a sentence; empty otherwise.
        trace: The traceback of a broken plugin, for `kdprobe plugins NAME`.
        specs: What it provides.
        source_hash: Digest of the plugin module's source, part of every stage key that used it.
    """

    name: str
    version: str
    source: str
    status: Status = "ok"
    reason: str = ""
    trace: str = ""
    specs: tuple[Spec, ...] = ()
    source_hash: str = field(default="", compare=False)

    @property
    def provides(self) -> dict[str, list[str]]:
        """Kind to the names provided, both in the plugin's own order."""
        kinds: dict[str, list[str]] = {}
        for spec in self.specs:
            kinds.setdefault(spec.kind, []).append(spec.name)
        return kinds


def discover(candidates: Iterable[Candidate] | None = None) -> list[Provider]:
    """Loads every candidate behind a guard.

    Args:
        candidates: What to load; by default the built-ins, then installed entry points sorted by name.

    Returns:
        One provider per candidate, in order, broken ones included.
    """
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    found = [*builtin_candidates(), *installed_candidates()] if candidates is None else candidates
    seen: dict[str, Candidate] = {}
    providers = []
    for candidate in found:
        if first := seen.get(candidate.name):
            reason = f"{first.source} already provides a plugin named {candidate.name!r}."
            providers.append(Provider(candidate.name, candidate.version, candidate.source, "shadowed", reason))
            continue
        seen[candidate.name] = candidate
        providers.append(_load(manager, candidate))
    return providers


def _load(manager: pluggy.PluginManager, candidate: Candidate) -> Provider:
    """Loads, registers and asks one candidate; whatever it raises becomes its reason."""
    described = (candidate.name, candidate.version, candidate.source)
    try:
        # What a plugin prints while it loads must not leak into `--json`.
        with contextlib.redirect_stdout(sys.stderr):
            plugin = candidate.load()
            if inspect.isclass(plugin):
                plugin = plugin()
            manager.register(plugin, candidate.name)
            specs = tuple(_specs(manager, plugin, candidate.name))
            source_hash = _source_hash(plugin)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
        with contextlib.suppress(Exception):
            manager.unregister(name=candidate.name)
        cause = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {cause[0] if cause else 'no message'}"
        return Provider(*described, "broken", reason, traceback.format_exc())
    return Provider(*described, specs=specs, source_hash=source_hash)


def _specs(manager: pluggy.PluginManager, plugin: object, name: str) -> Iterator[Spec]:
    """Calls the plugin's own hooks, drained here so that a generator's failure is caught by the guard."""
    callers = manager.get_hookcallers(plugin) or []
    for caller in callers:
        expected: type[Spec] | None = hookspecs.HOOKS.get(caller.name)
        if expected is None:
            known = ", ".join(hookspecs.HOOKS)
            raise TypeError(f"{caller.name} is not a hook of kdprobe (there are {known}).")
        for implementation in caller.get_hookimpls():
            if implementation.plugin_name != name:
                continue
            offered: Iterable[Any] = implementation.function()  # type: ignore[assignment]
            for spec in offered:
                if not isinstance(spec, expected):
                    got = type(spec).__name__
                    raise TypeError(f"{caller.name} must yield {expected.__name__} records, not {got}.")
                yield spec


def _source_hash(plugin: object) -> str:
    """Digest of a plugin's source: its package's Python files, or its single module; empty where neither."""
    module = inspect.getmodule(plugin if inspect.ismodule(plugin) else type(plugin))
    if module is None or not (found := getattr(module, "__file__", None)):
        return ""
    file = Path(found)
    in_package = bool(module.__package__) and not module.__name__.startswith("kdprobe.")
    files = sorted(file.parent.rglob("*.py")) if in_package else [file]
    digest = hashlib.sha256()
    for source in files:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]
