"""Guarded discovery: a broken plugin is reported with its reason and never takes the host down."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pluggy

from kdprobe.host import hookspecs
from kdprobe.host.candidates import Candidate, own_version
from kdprobe.host.checks import check_plugin, check_spec
from kdprobe.host.choice import BLOCK, Choice
from kdprobe.host.guard import PluginError, blame, results_kept_clean
from kdprobe.host.hook_api import GROUP
from kdprobe.host.provider import Provider
from kdprobe.host.specs import Spec
from kdprobe.host.state.unchanged import unchanged


def discover(
    candidates: Iterable[Candidate] | None = None, choice: Choice | None = None, loaded: Sequence[Provider] = ()
) -> list[Provider]:
    """Loads every candidate behind a guard.

    Args:
        candidates: What to load; by default all candidates of the choice.
        choice: Which plugins to use; by default all.
        loaded: Plugins that are already loaded, whose names are taken.

    Returns:
        One provider per candidate, in order, including unusable ones.
    """
    choice = choice or Choice()
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    owners = {provider.name: provider.source for provider in loaded if provider.status == "ok"}
    providers = []
    for candidate in choice.candidates() if candidates is None else candidates:
        described = (candidate.name, candidate.version, candidate.source)
        if reason_to_skip := choice.reason_to_skip(candidate):
            providers.append(Provider(*described, "blocked", reason_to_skip))
        elif owner := owners.get(candidate.name):
            reason = (
                f"{owner} also provides a plugin named {candidate.name!r}; keep only one of the two, or set "
                f"{BLOCK}={owner}."
            )
            providers.append(Provider(*described, "shadowed", reason))
        else:
            provider = _load(manager, candidate)
            # An unusable plugin does not reserve its name.
            owners |= {provider.name: provider.source} if provider.status == "ok" else {}
            providers.append(provider)
    return providers


def _load(manager: pluggy.PluginManager, candidate: Candidate) -> Provider:
    """Loads one candidate, and undoes its changes to the process."""
    with unchanged(candidate.name) as undone:
        provider = _loaded(manager, candidate)
    return replace(provider, undone=tuple(undone))


def _loaded(manager: pluggy.PluginManager, candidate: Candidate) -> Provider:
    """Loads, checks and registers one candidate and calls its hooks; any exception becomes its reason."""
    described = (candidate.name, candidate.version, candidate.source)
    try:
        with results_kept_clean():
            plugin = candidate.load()
            check_plugin(plugin, own_version())
            if (twin := manager.get_name(plugin)) is not None:
                return Provider(*described, "shadowed", f"It is the same module as {twin!r}.")
            manager.register(plugin, candidate.name)
            specs = tuple(_specs(manager, plugin))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit included
        # pluggy does not clean up if registering fails.
        with contextlib.suppress(Exception):
            manager.unregister(name=candidate.name)
        status, reason = blame(error, candidate.source)
        return Provider(*described, status, reason, traceback.format_exc())
    observers = tuple(_implementations(manager, plugin, hookspecs.OBSERVER))
    return Provider(*described, specs=specs, observers=observers, plugin=plugin)


def _specs(manager: pluggy.PluginManager, plugin: object) -> Iterator[Spec]:
    """Calls the plugin's own hooks, fully consumed here so that the guard catches a failing generator."""
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
    return [implementation.function for implementation in caller.get_hookimpls() if implementation.plugin is plugin]
