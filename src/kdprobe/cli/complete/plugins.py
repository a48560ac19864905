"""Names of plugins and of what they provide, and the built-in model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from kdprobe.api.session import plugin_choice
from kdprobe.models.reference import SMOLLM2

if TYPE_CHECKING:
    from kdprobe.host.registry import Host

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]


def plugins(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Plugins, usable or not, and the word `new`."""
    names = [provider.name for provider in _host(context).providers]
    return [CompletionItem(name) for name in (*names, "new") if name.startswith(incomplete)]


def provided(kind: str, *further: str, files: bool = False) -> Completer:
    """Completes the names of one kind of thing that plugins provide.

    Args:
        kind: Such as `extractors`.
        further: Other values of the option.
        files: Whether the option also takes files, which are offered if no name begins with what was typed.
    """

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        host = _host(context)
        named = [CompletionItem(name, help=host.get(kind, name).spec.summary) for name in host.names(kind)]
        offered = [*named, *map(CompletionItem, further)]
        return _with_files(files, incomplete) + [item for item in offered if item.value.startswith(incomplete)]

    return complete


def models(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The built-in model, or folders and files if its name does not begin like this."""
    return _with_files(True, incomplete) + [CompletionItem(SMOLLM2)] * SMOLLM2.startswith(incomplete)


def _with_files(wanted: bool, incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(incomplete, type="file")] if wanted else []


def _host(context: click.Context) -> Host:
    from kdprobe.host.choice import Choice
    from kdprobe.host.discovery import discover
    from kdprobe.host.registry import Host

    given = context.params
    choice = plugin_choice(given.get("plugins_dir"), no_plugins=bool(given.get("no_plugins")))
    # A plugin that cannot be used is no reason to complete nothing.
    return Host(discover(choice=choice), Choice())
