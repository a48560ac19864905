"""Global state of the process that affects numbers or their display: read, compared, and restored.

Nothing is read from libraries that are not loaded, because their state cannot have been changed.
"""

from __future__ import annotations

import contextlib
import locale
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdprobe.host.state.of_torch import TORCH_PARTS
from kdprobe.host.state.part import Part, calls

State = dict[str, Any]
"""Values by the names that sentences use for the parts."""
_ABSENT = object()
_ENVIRONMENT = "the environment"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def read_state() -> State:
    """All parts that exist now."""
    return {name: _read(part) for name, part in PARTS.items() if part.module is None or part.module in sys.modules}


def changed(before: State, after: State) -> list[str]:
    """The names of the parts that differ, among those present both times: a failed import may remove some."""
    return [name for name, value in before.items() if name in after and value != after[name]]


def adopt(state: State, before: State, after: State) -> None:
    """Copies into a state what changed between two other states, and what is new in the second.

    For tables and lists, only changed items are copied, so that other changes to them stay visible.
    """
    for name, value in after.items():
        old, known = before.get(name, _ABSENT), state.get(name, _ABSENT)
        if known is _ABSENT or type(known) is not type(value) or type(old) is not type(value):
            state[name] = value
        elif isinstance(value, dict):
            kept = {key: item for key, item in known.items() if key in value or key not in old}
            state[name] = kept | {key: item for key, item in value.items() if old.get(key, _ABSENT) != item}
        elif isinstance(value, list):
            kept_items = [item for item in known if item in value or item not in old]
            state[name] = [item for item in value if item not in old and item not in known] + kept_items
        elif old != value:
            state[name] = value


def put_back(state: State, names: Iterable[str]) -> None:
    """Restores parts of the state; a part already restored along with another is not written again."""
    for name in names:
        if _read(PARTS[name]) != state[name]:
            PARTS[name].write(state[name])


def described(before: State, after: State) -> list[str]:
    """The differences, for a sentence; for the environment, only names, no values."""
    names = changed(before, after)
    if _ENVIRONMENT in names:
        old, new = before[_ENVIRONMENT], after[_ENVIRONMENT]
        variables = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        names[names.index(_ENVIRONMENT)] = f"{_ENVIRONMENT} ({', '.join(variables)})"
    return names


def _read(part: Part) -> Any:
    try:
        return part.read()
    except Exception as error:  # noqa: BLE001 - torch refuses to read settings that contradict each other
        return f"unreadable: {error}"


def _write_environment(value: Mapping[str, str]) -> None:
    for name in os.environ.keys() - value.keys():
        del os.environ[name]
    os.environ.update(value)


def _write_path(value: list[str]) -> None:
    sys.path[:] = value


def _write_filters(value: list[Any]) -> None:
    warnings.filters[:] = value  # type: ignore[index]
    # Entering and leaving makes Python forget decisions of other filters.
    with warnings.catch_warnings():
        pass


def _folder() -> str | None:
    with contextlib.suppress(OSError):
        return str(Path.cwd())
    return None


def _write_folder(value: str | None) -> None:
    if value is not None:
        os.chdir(value)


def _logging() -> tuple[Any, ...]:
    root = logging.root
    return root.level, tuple(root.handlers), tuple(root.filters), root.manager.disable


def _write_logging(value: tuple[Any, ...]) -> None:
    level, handlers, filters, disabled = value
    logging.root.setLevel(level)
    logging.root.handlers[:] = handlers
    logging.root.filters[:] = filters
    logging.disable(disabled)


def _signals() -> tuple[Any, ...]:
    return tuple(signal.getsignal(number) for number in _SIGNALS)


def _write_signals(value: tuple[Any, ...]) -> None:
    for number, handler in zip(_SIGNALS, value, strict=True):
        # Python cannot set handlers that were not set from Python.
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _numpy_seed() -> tuple[Any, ...]:
    name, keys, *rest = sys.modules["numpy.random"].get_state()
    return name, keys.tobytes(), *rest


def _write_numpy_seed(value: tuple[Any, ...]) -> None:
    name, keys, *rest = value
    sys.modules["numpy.random"].set_state((name, sys.modules["numpy"].frombuffer(keys, dtype="uint32"), *rest))


def _numpy_errors() -> dict[str, str]:
    return dict(sys.modules["numpy"].geterr())


def _write_numpy_errors(value: dict[str, str]) -> None:
    sys.modules["numpy"].seterr(**value)


def _decimal() -> tuple[Any, ...]:
    context = sys.modules["decimal"].getcontext()
    return context.prec, context.rounding, context.Emin, context.Emax


def _write_decimal(value: tuple[Any, ...]) -> None:
    context = sys.modules["decimal"].getcontext()
    context.prec, context.rounding, context.Emin, context.Emax = value


def _write_showing(value: Any) -> None:
    warnings.showwarning = value


PARTS: dict[str, Part] = {
    _ENVIRONMENT: Part(lambda: dict(os.environ), _write_environment),
    "sys.path": Part(lambda: list(sys.path), _write_path),
    "the working directory": Part(_folder, _write_folder),
    "the locale": Part(lambda: locale.setlocale(locale.LC_ALL), lambda value: locale.setlocale(locale.LC_ALL, value)),
    "the warning filters": Part(lambda: list(warnings.filters), _write_filters),
    "how warnings are shown": Part(lambda: warnings.showwarning, _write_showing),
    "logging": Part(_logging, _write_logging),
    "the signal handlers": Part(_signals, _write_signals),
    "the recursion limit": Part(sys.getrecursionlimit, sys.setrecursionlimit),
    "Python's random state": Part(random.getstate, random.setstate),
    "decimal's precision": Part(_decimal, _write_decimal, "decimal"),
    "the default socket timeout": calls("socket", "getdefaulttimeout", "setdefaulttimeout"),
    "NumPy's random state": Part(_numpy_seed, _write_numpy_seed, "numpy.random"),
    "NumPy's error handling": Part(_numpy_errors, _write_numpy_errors, "numpy"),
    **TORCH_PARTS,
}
