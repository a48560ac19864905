"""Where plugins come from: kdprobe's own modules, installed distributions, and folders."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from types import ModuleType

from kdprobe.errors import UsageError
from kdprobe.host.hook_api import GROUP

BUILTIN = "builtin"
BUILTIN_PLUGINS = (
    "kdprobe.problems.plugin",
    "kdprobe.strategies.plugin",
    "kdprobe.teachers.plugin",
    "kdprobe.distill.plugin",
    "kdprobe.evaluation.plugin",
    "kdprobe.probing.plugin",
    "kdprobe.experiment.executors.plugin",
)


@dataclass(frozen=True)
class Candidate:
    """A plugin before it is loaded.

    Attributes:
        name: The entry point's name, `builtin:<package>`, or the stem of a file in a folder.
        version: The version of the distribution it comes from; `local` in a folder.
        source: `builtin`, the distribution that installed it, or the folder's file.
        load: Imports the plugin.
    """

    name: str
    version: str
    source: str
    load: Callable[[], object]


def builtin_candidates() -> Iterator[Candidate]:
    """The built-in plugins: modules of kdprobe that register through the hooks like any other."""
    kdprobe_version = own_version()
    for module in BUILTIN_PLUGINS:
        name = f"{BUILTIN}:{module.split('.')[1]}"
        yield Candidate(name, kdprobe_version, BUILTIN, lambda module=module: importlib.import_module(module))  # type: ignore[misc]


def installed_candidates() -> Iterator[Candidate]:
    """Entry points in the group `kdprobe` of installed distributions, sorted by name, then distribution."""
    points = [(point, point.dist) for point in entry_points(group=GROUP)]
    for point, dist in sorted(points, key=lambda pair: (pair[0].name, pair[1].name if pair[1] else "")):
        source = dist.name if dist else point.value
        yield Candidate(point.name, dist.version if dist else "unknown", source, point.load)


def folder_candidates(folder: Path) -> Iterator[Candidate]:
    """Every module and package directly in a folder, except those whose names begin with `_` or `.`.

    Raises:
        UsageError: The folder does not exist.
    """
    if not folder.is_dir():
        raise UsageError(
            f"The plugin folder {folder} does not exist.", "Check `plugins` in the config, or --plugins-dir."
        )
    folder = folder.resolve()
    for file in sorted([*folder.glob("*.py"), *folder.glob("*/__init__.py")]):
        path = file.parent if file.name == "__init__.py" else file
        if not path.name.startswith(("_", ".")):
            yield Candidate(path.stem, "local", str(path), lambda file=file: _import_file(file))  # type: ignore[misc]


def _import_file(file: Path) -> ModuleType:
    """Imports a module from its file, under a unique name; the folder is not added to the search path."""
    package = file.name == "__init__.py"
    name = f"kdprobe_local_{file.parent.name if package else file.stem}"
    spec = importlib.util.spec_from_file_location(
        name, file, submodule_search_locations=[str(file.parent)] if package else None
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    # Like the import system: dataclasses and relative imports look up the module by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def own_version() -> str:
    """The version of kdprobe itself; `0+unknown` in a source tree that was never installed."""
    try:
        return version("kdprobe")
    except PackageNotFoundError:
        return "0+unknown"
