"""What the discovered plugins provide, by kind and name, with the errors that a wrong name deserves."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.host.discovery import Provider, discover
from kdprobe.host.specs import KINDS, Spec

SINGULAR = {
    "strategies": "strategy",
    "teachers": "teacher",
    "distillers": "distiller",
    "analyses": "analysis",
    "head-metrics": "head metric",
    "problem-sources": "problem source",
    "extractors": "extractor",
}


@dataclass(frozen=True)
class Entry:
    """A spec and the plugin it comes from."""

    spec: Spec
    provider: Provider


class Host:
    """The plugins of this process.

    Args:
        providers: What discovery found; by default it discovers now.
    """

    def __init__(self, providers: list[Provider] | None = None) -> None:
        self.providers = discover() if providers is None else providers

    @cached_property
    def _entries(self) -> dict[tuple[str, str], list[Entry]]:
        entries: dict[tuple[str, str], list[Entry]] = {}
        for provider in self.providers:
            for spec in provider.specs:
                entries.setdefault((spec.kind, spec.name), []).append(Entry(spec, provider))
        return entries

    def names(self, kind: str) -> list[str]:
        """Names provided for a kind, in order of discovery."""
        return [name for entry_kind, name in self._entries if entry_kind == kind]

    def get(self, kind: str, name: str) -> Entry:
        """The spec of that kind and name.

        Raises:
            UsageError: No plugin provides it (the nearest name and broken plugins are named), or two do.
        """
        if kind not in {known.kind for known in KINDS}:
            raise KdprobeError(f"{kind!r} is not a kind of plugin.")
        entries = self._entries.get((kind, name), [])
        if len(entries) == 1:
            return entries[0]
        if entries:
            both = " and ".join(sorted(entry.provider.source for entry in entries))
            raise UsageError(f"The {SINGULAR[kind]} {name!r} is provided by both {both}.", "Uninstall one of them.")
        raise UsageError(f"There is no {SINGULAR[kind]} named {name!r}.", self._hint(kind, name))

    def options(self, kind: str, name: str, raw: dict[str, Any]) -> Any:
        """Validates raw options against the spec's model.

        Raises:
            UsageError: As `get`, or options for a spec that takes none.
            pydantic.ValidationError: The options have mistakes.
        """
        spec = self.get(kind, name).spec
        if spec.options is not None:
            return spec.options.model_validate(raw)
        if raw:
            raise UsageError(f"The {SINGULAR[kind]} {name!r} takes no options.", f"Remove {', '.join(raw)}.")
        return None

    def build(self, kind: str, name: str, options: Any) -> Any:
        """Builds the thing itself from validated options."""
        return self.get(kind, name).spec.build(options)

    def make(self, kind: str, name: str, raw: dict[str, Any] | None = None) -> Any:
        """Builds the thing itself from raw options, which are validated first; errors as `options`."""
        return self.build(kind, name, self.options(kind, name, raw or {}))

    def all(self, kind: str) -> dict[str, Any]:
        """Everything of a kind that takes no options, built, by name."""
        return {name: self.make(kind, name) for name in self.names(kind)}

    def _hint(self, kind: str, name: str) -> str:
        names = self.names(kind)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names)}."
        broken = [provider for provider in self.providers if provider.status != "ok"]
        if broken:
            hint += " Not loaded: " + "; ".join(f"{p.name} ({p.reason})" for p in broken) + "."
        else:
            hint += " If a plugin provides it, install that plugin; `kdprobe plugins` lists what is there."
        return hint
