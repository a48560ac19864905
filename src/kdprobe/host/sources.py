"""A digest of a plugin's source: everything it consists of, without files it creates when it runs.

For an installed distribution, these are the installed files. Otherwise, as in an editable install or a folder of
plugins, they are the files of its module or package and of the modules and packages next to it that it imports.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from types import ModuleType

_INIT = "__init__.py"
_LEFT_BEHIND = {".pyc", ".pyo", ".log", ".tmp", ".temp", ".bak", ".swp", ".lock", ".pid", ".partial"}
_LEFT_BEHIND |= {".db", ".sqlite", ".sqlite3", ".db-wal", ".db-shm", ".db-journal"}
"""File name endings of files that programs write while they run."""
_CODE = {".py", ".so", ".pyd"}
_IMPORTERS = {"import_module", "__import__"}


def source_digest(plugin: object, source: str) -> str:
    """A digest of a plugin's source; empty if it has no file.

    Args:
        plugin: The module or object.
        source: The distribution it comes from, if it was installed.
    """
    module = module_of(plugin)
    if module is None or not (module_file := getattr(module, "__file__", None)):
        return ""
    file = Path(module_file).resolve()
    root = _root(module.__name__, file)
    digest = hashlib.sha256()
    for path in sorted(_files(module.__name__, file, root, source)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def module_of(plugin: object) -> ModuleType | None:
    """The module that a plugin is, or that defines its class."""
    return inspect.getmodule(plugin if inspect.ismodule(plugin) else type(plugin))


def _root(name: str, file: Path) -> Path:
    """The folder that contains the top-level package or module."""
    return file.parents[name.count(".") + (file.name == _INIT)]


def _files(name: str, file: Path, root: Path, source: str) -> set[Path]:
    if name.partition(".")[0] == "kdprobe":
        # Stage keys cover kdprobe's code separately: only the module that registers the plugin counts.
        return {file}
    if installed := _installed(source, file, root):
        return installed
    beside = _Beside(root)
    beside.add(file)
    return beside.files


def _installed(source: str, file: Path, root: Path) -> set[Path]:
    """The files of a distribution, if the plugin's file is one of them, without scripts and installer files."""
    with suppress(PackageNotFoundError, ValueError):
        found = _paths(distribution(source))
        if file in found:
            return {path for path in found if path.is_relative_to(root) and not _is_the_installers(path, root)}
    return set()


def _paths(known: Distribution) -> set[Path]:
    return {
        Path(str(known.locate_file(name))).resolve() for name in known.files or () if ".dist-info/" not in str(name)
    }


def _is_the_installers(path: Path, root: Path) -> bool:
    return "__pycache__" in path.parts or (path.suffix == ".pth" and path.parent == root)


class _Beside:
    """The files of a module and of everything it imports from the same folder."""

    def __init__(self, root: Path) -> None:
        self.files: set[Path] = set()
        self._root = root
        # In a folder of installed distributions, other distributions are also next to it.
        self._others = packages_distributions() if any(root.glob("*.dist-info")) else {}

    def add(self, file: Path) -> None:
        """Adds a module's file, its whole package, and what they import."""
        package, folder = None, file.parent
        while folder != self._root and (folder / _INIT).is_file():
            package, folder = folder, folder.parent
        for path in [path for path in package.rglob("*") if path.is_file()] if package else [file]:
            if path not in self.files and (path == file or _is_source(path, self._root)):
                self.files.add(path)
                if path.suffix == ".py":
                    self._follow(path)

    def _follow(self, file: Path) -> None:
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, RecursionError):
            return
        for name in _imported(tree, file.relative_to(self._root).parent.parts):
            # `from a.b import c` may import a module, or a name from a module.
            parts = name.split(".")
            for length in range(len(parts), 0, -1):
                if parts[0] not in self._others and (found := _module_file(self._root.joinpath(*parts[:length]))):
                    if found not in self.files:
                        self.add(found)
                    break


def _imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Full names of everything a module imports, by statements and by calls with a literal name."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package[: len(package) - level + 1] if level else ()
                base = [*above, *([module] if module else [])]
                yield from (".".join([*base, alias.name]) for alias in names)
            case ast.Call(
                func=ast.Attribute(attr=called) | ast.Name(id=called), args=[ast.Constant(value=str(name)), *_]
            ):
                if called in _IMPORTERS:
                    yield name.lstrip(".")


def _module_file(path: Path) -> Path | None:
    return next((file for file in (path / _INIT, path.with_name(f"{path.name}.py")) if file.is_file()), None)


def _is_source(path: Path, root: Path) -> bool:
    """Whether a file is not one that programs leave behind, judging by its name and its folders."""
    top, *parts = path.relative_to(root).parts
    if any(part.startswith(".") or part == "__pycache__" for part in (top, *parts)):
        return False
    if path.suffix in _CODE:
        return True
    left_behind = path.suffix.lower() in _LEFT_BEHIND or path.name.endswith("~")
    return not left_behind and not any("cache" in part.lower() for part in parts)
