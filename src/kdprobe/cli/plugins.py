"""`kdprobe plugins`, and `kdprobe plugins new`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdprobe.api.session import plugin_choice
from kdprobe.cli.complete.plugins import plugins
from kdprobe.cli.new_plugin import command as new
from kdprobe.cli.options import json_option, plugin_options
from kdprobe.errors import UsageError

EPILOG = """\b
Examples:
  kdprobe plugins                     list all plugins
  kdprobe plugins builtin:distill     show one, with its options
  kdprobe plugins broken-one          show why it was not loaded
  # write a package to start from (see its --help)
  kdprobe plugins new step-back --kind strategy
  # exclude a plugin
  KDPROBE_BLOCK=broken-one kdprobe plugins
  # for CI: exit with status 1 if a plugin cannot be used
  KDPROBE_STRICT_PLUGINS=1 kdprobe plugins
"""


class _Plugins(click.Command):
    """Takes a plugin's name, or the word `new` and its arguments."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] == ["new"]:
            return new.make_context(f"{info_name} new", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=_Plugins, epilog=EPILOG)
@click.argument("name", required=False, shell_complete=plugins)
@plugin_options
@json_option
def command(name: str | None, plugins_dir: Path | None, no_plugins: bool, as_json: bool) -> None:
    """List plugins: where they come from, what they provide, and why any of them failed to load.

    With NAME, show only that plugin: its options or, if it is broken, the traceback.
    """
    from kdprobe.cli.show.plugins import plugin_data, show_plugin, show_plugins
    from kdprobe.cli.show.tables import print_json
    from kdprobe.host.choice import Choice
    from kdprobe.host.discovery import discover
    from kdprobe.host.registry import Host
    from kdprobe.host.suggestions import suggested

    choice = plugin_choice(plugins_dir, no_plugins=no_plugins)
    # Fail only after printing the list, which shows what to fix.
    host = Host(discover(choice=choice), Choice())
    shown = [provider for provider in host.providers if name in {None, provider.name}]
    if not shown:
        names = [*(provider.name for provider in host.providers), "new"]
        raise UsageError(
            f"There is no plugin named {name!r}.",
            suggested(str(name), names) or "List all plugins with `kdprobe plugins`.",
        )
    if as_json:
        print_json([plugin_data(provider, host.conflicts(provider)) for provider in shown])
    elif name is not None:
        for provider in shown:
            show_plugin(provider, host.conflicts(provider))
    else:
        show_plugins(shown, {provider.name: host.conflicts(provider) for provider in shown})
    choice.enforce(host.providers)
