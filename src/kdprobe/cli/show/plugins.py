"""Plugins as tables in the terminal, and as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kdprobe.cli.show.tables import new_table, print_table, sentence_list
from kdprobe.console.streams import out, plain
from kdprobe.host.options import options_of

if TYPE_CHECKING:
    from kdprobe.host.provider import Provider


def plugin_data(provider: Provider, conflicts: Sequence[str]) -> dict[str, Any]:
    """A plugin as plain data."""
    return {
        "name": provider.name,
        "version": provider.version,
        "source": provider.source,
        "status": provider.status,
        "reason": provider.reason,
        "trace": provider.trace,
        "undone": provider.undone,
        "conflicts": conflicts,
        "provides": provider.provides,
        "offers": [
            {
                "kind": spec.kind,
                "name": spec.name,
                "summary": spec.summary,
                "options": [asdict(option) for option in options_of(spec.options)],
            }
            for spec in provider.specs
        ],
        "observes": len(provider.observers) > 0,
    }


def show_plugins(providers: Sequence[Provider], conflicts: Mapping[str, Sequence[str]]) -> None:
    """Prints all plugins, why some cannot be used, and names that two of them provide."""
    table = new_table("Plugins", "name", "version", "source", "status", "provides")
    for provider in providers:
        offers = [f"{kind}: {', '.join(names)}" for kind, names in provider.provides.items()]
        provides = "; ".join([*offers, *(["observes runs"] if provider.observers else [])])
        table.add_row(
            plain(provider.name),
            plain(provider.version),
            plain(provider.source),
            provider.status,
            plain(provider.reason or provides),
        )
    print_table(table)
    sentence_list("Undone", [provider.undone_sentence for provider in providers if provider.undone])
    sentence_list("Conflicts", [f"{name}: {sentence}" for name, found in conflicts.items() for sentence in found])


def show_plugin(provider: Provider, conflicts: Sequence[str]) -> None:
    """Prints one plugin: what it provides, with options, or why it is not used."""
    out().print(plain(f"{provider.name} {provider.version} from {provider.source}: {provider.status}"))
    for sentence in filter(None, (provider.reason, provider.undone_sentence, *conflicts, provider.trace)):
        out().print(plain(sentence.rstrip()))
    if provider.observers:
        out().print("  Observes runs.")
    for spec in provider.specs:
        out().print(plain(f"\n{spec.kind}: {spec.name}\n  {spec.summary}"))
        options = options_of(spec.options)
        if not options:
            continue
        table = new_table("", "option", "type", "default", "meaning")
        for option in options:
            default = "required" if option.required else str(option.default)
            table.add_row(*map(plain, (option.name, option.type.replace("`", ""), default, option.description)))
        print_table(table)
