"""A part of the process's global state."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any


@dataclass(frozen=True)
class Part:
    """How to read and restore a part of the state.

    Attributes:
        read: Returns its value, which must not be affected by later changes and must support `==`.
        write: Restores a value.
        module: The library it belongs to, without which there is nothing to read, or `None`.
    """

    read: Callable[[], Any]
    write: Callable[[Any], object]
    module: str | None = None


def calls(module: str, read: str, write: str) -> Part:
    """A part that a library reads and writes through two functions; the library is never imported for it."""

    def get() -> Any:
        return attrgetter(read)(sys.modules[module])()

    def put(value: Any) -> None:
        attrgetter(write)(sys.modules[module])(value)

    return Part(get, put, module)
