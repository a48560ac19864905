"""Guarded discovery: a broken plugin is reported with its reason and never takes the host down."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pluggy

from kdprobe.host import hookspecs
from kdprobe.host.candidates import Candidate, own_version
from kdprobe.host.checks import check_plugin, check_spec
from kdprobe.host.choice import Choice
from kdprobe.host.guard import PluginError, blame, results_kept_clean
from kdprobe.host.specs import Spec
from kdprobe.host.stage import FinishedStage

Status = Literal["ok", "broken", "incompatible", "shadowed", "blocked"]
Observer = Callable[[FinishedStage], None]


@dataclass(frozen=True)
class Provider:
    """A plugin after discovery.

    Attributes:
        name: The entry point's name, or `builtin:<package>`.
        version: The version of the distribution it comes from.
        source: `builtin`, the distribution that installed it, or its file in a folder.
        status: `ok`, or why it is not used: `broken`, `incompatible` with this kdprobe, `shadowed` by another of the
            same name, `blocked` by the user.
        reason: The same as a sentence; empty where it is `ok`.
        trace: The traceback of a plugin that failed, for `kdprobe plugins NAME`.
        specs: What it provides.
        observers: Its functions that are told of finished stages.
        plugin: The module or object itself, or `None`.
    """

    name: str
    version: str
    source: str
    status: Status = "ok"
    reason: str = ""
    trace: str = ""
    specs: tuple[Spec, ...] = ()
    observers: tuple[Observer, ...] = ()
    plugin: object = field(default=None, compare=False, repr=False)

    @property
    def provides(self) -> dict[str, list[str]]:
        """Kind to the names provided, both in the plugin's own order."""
        kinds: dict[str, list[str]] = {}
        for spec in self.specs:
            kinds.setdefault(spec.kind, []).append(spec.name)
        return kinds

    @cached_property
    def source_hash(self) -> str:
        """Digest of the plugin's source, part of every stage key that used it; read only when it is asked for."""
        return _source_hash(self.plugin)


def discover(
    candidates: Iterable[Candidate] | None = None, choice: Choice | None = None, beside: Sequence[Provider] = ()
) -> list[Provider]:
    """Loads every candidate behind a guard.

    Args:
        candidates: What to load; by default all that the choice knows.
        choice: Which ones are wanted; by default all.
        beside: Plugins that are there already, whose names are taken.

    Returns:
        One provider per candidate, in order, those that cannot be used included.
    """
    choice = choice or Choice()
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    taken = {provider.name: provider.source for provider in beside if provider.status == "ok"}
    providers = []
    for candidate in choice.candidates() if candidates is None else candidates:
        described = (candidate.name, candidate.version, candidate.source)
        if against := choice.against(candidate):
            providers.append(Provider(*described, "blocked", against))
        elif first := taken.get(candidate.name):
            reason = f"{first} provides a plugin named {candidate.name!r} too; uninstall one of them, or block {first}."
            providers.append(Provider(*described, "shadowed", reason))
        else:
            provider = _load(manager, candidate)
            # A plugin that cannot be used keeps its name from nobody.
            taken |= {provider.name: provider.source} if provider.status == "ok" else {}
            providers.append(provider)
    return providers


def _load(manager: pluggy.PluginManager, candidate: Candidate) -> Provider:
    """Loads, checks, registers and asks one candidate; whatever it raises becomes its reason."""
    described = (candidate.name, candidate.version, candidate.source)
    try:
        with results_kept_clean():
            plugin = candidate.load()
            check_plugin(plugin, own_version())
            if (twin := manager.get_name(plugin)) is not None:
                return Provider(*described, "shadowed", f"It is the very module that {twin!r} is.")
            manager.register(plugin, candidate.name)
            specs = tuple(_specs(manager, plugin))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit included
        # pluggy leaves behind what it registered before it failed.
        with contextlib.suppress(Exception):
            manager.unregister(name=candidate.name)
        status, reason = blame(error, candidate.source)
        return Provider(*described, status, reason, traceback.format_exc())
    observers = tuple(_implementations(manager, plugin, hookspecs.OBSERVER))
    return Provider(*described, specs=specs, observers=observers, plugin=plugin)


def _specs(manager: pluggy.PluginManager, plugin: object) -> Iterator[Spec]:
    """Calls the plugin's own hooks, drained here so that a generator's failure is caught by the guard."""
    names: set[tuple[str, str]] = set()
    for hook in hookspecs.HOOKS:
        for function in _implementations(manager, plugin, hook):
            offered = function()
            if not isinstance(offered, Iterable):
                raise PluginError(f"{hook} must yield records, or return a list of them, not {type(offered).__name__}.")
            for record in offered:
                spec = check_spec(record, hook)
                if (spec.kind, spec.name) in names:
                    raise PluginError(f"{hook} yields {spec.name!r} twice.")
                names.add((spec.kind, spec.name))
                yield spec


def _implementations(manager: pluggy.PluginManager, plugin: object, hook: str) -> list[Callable[..., Any]]:
    caller = getattr(manager.hook, hook)
    return [found.function for found in caller.get_hookimpls() if found.plugin is plugin]


def _source_hash(plugin: object) -> str:
    """Digest of all files of a plugin's package, or of its single module; empty where neither is a file."""
    module = inspect.getmodule(plugin if inspect.ismodule(plugin) else type(plugin))
    if module is None or not (found := getattr(module, "__file__", None)):
        return ""
    file = Path(found)
    top = sys.modules.get(module.__name__.partition(".")[0])
    # Of kdprobe itself, whose version is in every key anyway, only the module that offers something.
    package = None if top is None or top.__name__ == "kdprobe" else getattr(top, "__file__", None)
    in_package = bool(package) and Path(str(package)).name == "__init__.py"
    root = Path(str(package)).parent if in_package else file.parent
    files = sorted(path for path in root.rglob("*") if path.is_file()) if in_package else [file]
    digest = hashlib.sha256()
    for source in files:
        if "__pycache__" not in source.parts:
            digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]
