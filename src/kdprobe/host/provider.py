"""A plugin after discovery: what it provides, or why it is not used."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Literal

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
        undone: What of the process's state it changed when it was loaded; that was put back.
        specs: What it provides.
        observers: Its functions that are called for each finished stage.
        plugin: The module or object itself, or `None`.
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

    @property
    def provides(self) -> dict[str, list[str]]:
        """Kind to the names provided, both in the plugin's own order."""
        kinds: dict[str, list[str]] = {}
        for spec in self.specs:
            kinds.setdefault(spec.kind, []).append(spec.name)
        return kinds

    @property
    def undone_sentence(self) -> str:
        """What was undone, as a sentence; empty where nothing was."""
        return f"It changes {', '.join(self.undone)} when it is loaded; that was undone." if self.undone else ""

    @cached_property
    def source_hash(self) -> str:
        """Digest of the plugin's source, part of every stage key that used it; read only when it is asked for."""
        return _source_hash(self.plugin)


def module_of(plugin: object) -> ModuleType | None:
    """The module that a plugin is, or that its class is in."""
    return inspect.getmodule(plugin if inspect.ismodule(plugin) else type(plugin))


def _source_hash(plugin: object) -> str:
    """Digest of all files of a plugin's package, or of its single module; empty where neither is a file."""
    module = module_of(plugin)
    if module is None or not (module_file := getattr(module, "__file__", None)):
        return ""
    file = Path(module_file)
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
