"""A plugin after discovery: what it provides, or why it is not used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from kdprobe.host.sources import source_digest
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
        status: `ok`, or why it is not used: `broken`, `incompatible` with this kdprobe, `shadowed` by another plugin
            with the same name, `blocked` by the user.
        reason: The status as a sentence; empty if it is `ok`.
        trace: The traceback of a plugin that failed, for `kdprobe plugins NAME`.
        undone: The process state that loading it changed, and that was then restored.
        specs: What it provides.
        observers: Its functions to call for each finished stage.
        plugin: The module or object itself, or `None`.
        digest: Digest of the source of a plugin that is not a module; otherwise empty.
    """

    name: str
    version: str
    source: str
    status: Status = "ok"
    reason: str = ""
    trace: str = ""
    undone: tuple[str, ...] = ()
    specs: tuple[Spec, ...] = ()
    observers: tuple[Observer, ...] = ()
    plugin: object = field(default=None, compare=False, repr=False)
    digest: str = ""

    @property
    def provides(self) -> dict[str, list[str]]:
        """The provided names by kind, both in the plugin's own order."""
        kinds: dict[str, list[str]] = {}
        for spec in self.specs:
            kinds.setdefault(spec.kind, []).append(spec.name)
        return kinds

    @property
    def undone_sentence(self) -> str:
        """What was undone, as a sentence; empty if nothing was."""
        if not self.undone:
            return ""
        return (
            f"Loading the plugin {self.name} ({self.source}) changed {', '.join(self.undone)}; the change was undone."
        )

    @cached_property
    def source_hash(self) -> str:
        """Digest of the plugin's source, part of the key of every stage that used it; computed only when needed."""
        return self.digest or source_digest(self.plugin, self.source)
