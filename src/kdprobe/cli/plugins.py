"""`kdprobe plugins`."""

from __future__ import annotations

import click

from kdprobe.cli import json_option
from kdprobe.errors import UsageError


@click.command()
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List plugins: where they come from, what they provide, and why one is not loaded.

    With NAME: only that plugin, with the traceback of a broken one.
    """
    from kdprobe.cli.show import print_json, show_plugin, show_plugins
    from kdprobe.host.discovery import discover

    providers = discover()
    if name is not None:
        providers = [provider for provider in providers if provider.name == name]
        if not providers:
            raise UsageError(f"There is no plugin named {name!r}.", "`kdprobe plugins` lists them.")
    if as_json:
        rows = [
            {
                "name": provider.name,
                "version": provider.version,
                "source": provider.source,
                "status": provider.status,
                "reason": provider.reason,
                "provides": provider.provides,
            }
            for provider in providers
        ]
        print_json(rows)
    elif name is not None:
        show_plugin(providers[0])
    else:
        show_plugins(providers)
