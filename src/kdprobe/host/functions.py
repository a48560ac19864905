"""Plain functions as plugins: a digest of everything that determines what a function returns.

That is its source, and the functions, modules and plain data that it uses. A function that uses anything else is
rejected, because results under its key could belong to another function.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from kdprobe.errors import UsageError
from kdprobe.host.sources import source_digest
from kdprobe.words import with_article

_PLAIN = (str, bytes, int, float, bool, complex, type(None), Fraction, PurePath, re.Pattern)
_LOADS_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME"}
_HINT = "Use only functions, modules, strings, numbers, lists and dicts in it, or put it into a file in --plugins-dir."


def function_digest(function: object, name: str) -> str:
    """Returns a digest of a function's source and of everything it uses.

    Args:
        function: A function written with `def`.
        name: Its name in messages.

    Raises:
        UsageError: It is a lambda or a different kind of callable, its source is missing or has changed since it was
            loaded, or it uses something that has no digest.
    """
    return hashlib.sha256("\0".join(_Parts(name).of_function(function)).encode()).hexdigest()[:16]


class _Parts:
    """Collects the texts for the digest of one function; anything met again, as in a recursion, is only named.

    Args:
        name: The function's name in messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._met: dict[int, int] = {}

    def of_function(self, function: object) -> Iterator[str]:
        if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
            raise self._refused(f"is {with_article(type(function))}, not a plain function", "Write it with `def`.")
        if function.__name__ == "<lambda>":
            raise self._refused("is a lambda, whose exact source is unknown", "Write it with `def`.")
        if id(function) in self._met:
            yield f"met {self._met[id(function)]}"
            return
        self._met[id(function)] = len(self._met)
        yield self._source(function)
        yield from self._of_value(function.__defaults__, "a default value")
        yield from self._of_value(function.__kwdefaults__, "a default value")
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            yield name
            yield from self._of_value(_content(cell), repr(name))
        for name in sorted(set(_globals_of(function.__code__)) & function.__globals__.keys()):
            yield name
            yield from self._of_value(function.__globals__[name], repr(name))
        for name in sorted(set(_imports_of(function.__code__))):
            yield from self._of_imported(name)

    def _of_value(self, value: Any, what: str) -> Iterator[str]:
        """Any value, as text that differs if values differ."""
        if isinstance(value, _PLAIN):
            yield f"{type(value).__name__} {value!r}"
        elif isinstance(value, tuple | list | set | frozenset | dict) and id(value) not in self._met:
            self._met[id(value)] = len(self._met)
            items = value.items() if isinstance(value, dict) else value
            parts = ["\1".join(self._of_value(item, what)) for item in items]
            yield f"{type(value).__name__} {sorted(parts) if isinstance(value, set | frozenset) else parts}"
            del self._met[id(value)]
        elif isinstance(value, ModuleType):
            yield _of_module(value)
        elif isinstance(value, FunctionType | BuiltinFunctionType | type) and _is_installed(value.__module__):
            yield f"{_of_package(value.__module__)} {value.__module__}.{value.__qualname__}"
        elif isinstance(value, FunctionType):
            yield from self.of_function(value)
        else:
            kind = f"the class {value.__qualname__}" if isinstance(value, type) else with_article(type(value))
            raise self._refused(f"uses {what} ({kind}), which kdprobe cannot hash into the stage's cache key", _HINT)

    def _of_imported(self, name: str) -> Iterator[str]:
        """A module imported inside the function."""
        if _is_installed(name):
            yield _of_package(name)
        elif module := sys.modules.get(name):
            yield _of_module(module)
        else:
            raise self._refused(f"imports {name!r}, which is not loaded yet", "Also import it outside the function.")

    def _source(self, function: FunctionType) -> str:
        try:
            source = textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError) as error:
            raise self._refused("has no readable source", "Write it in a notebook cell or a file.") from error
        if _is_stale(function):
            raise self._refused(
                "is out of date: its source file changed after it was loaded", "Import it again in a new process."
            )
        return source

    def _refused(self, why: str, hint: str) -> UsageError:
        return UsageError(f"The function {self._name!r} {why}.", hint)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _globals_of(code: CodeType) -> Iterator[str]:
    for each in _codes(code):
        yield from (line.argval for line in dis.get_instructions(each) if line.opname in _LOADS_GLOBAL)


def _imports_of(code: CodeType) -> Iterator[str]:
    for each in _codes(code):
        yield from (line.argval for line in dis.get_instructions(each) if line.opname == "IMPORT_NAME")


def _is_stale(function: FunctionType) -> bool:
    """Whether a function's file has changed since it was loaded; notebook cells never do."""
    file = Path(function.__code__.co_filename)
    if not file.is_file():
        return False
    code = compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    return not any(each == function.__code__ for each in _codes(code))


def _of_module(module: ModuleType) -> str:
    if _is_installed(module.__name__):
        return _of_package(module.__name__)
    return f"{module.__name__} {source_digest(module, '')}"


@cache
def _is_installed(module: str) -> bool:
    """Whether a module belongs to Python, to kdprobe or to an installed distribution.

    Editable installs do not count: their source changes while the version stays the same.
    """
    top = module.partition(".")[0]
    if top in {"kdprobe", "builtins", *sys.stdlib_module_names}:
        return top != "__main__"
    spec = find_spec(top) if top not in sys.modules else sys.modules[top].__spec__
    places = [*((spec and spec.submodule_search_locations) or ()), *([spec.origin] if spec and spec.origin else [])]
    return any(any(Path(place).parent.glob("*.dist-info")) for place in places)


def _of_package(module: str) -> str:
    """A module by its name and the version of its distribution; for kdprobe, keys contain format numbers instead."""
    top = module.partition(".")[0]
    return " ".join([module, *([] if top == "kdprobe" else map(_version, sorted(set(_distributions().get(top, ())))))])


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _version(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return distribution
