"""Exports that are imported on first use, so that importing a package loads neither torch nor transformers.

A package's `__init__` lists such exports twice, for type checkers and for Python:

    if TYPE_CHECKING:
        from kdprobe.models.load import LoadedModel
        from kdprobe.models.load import load as load_model
    else:
        __getattr__, __dir__ = lazy_exports(__name__, {"kdprobe.models.load": ["LoadedModel", "load as load_model"]})

No export may have the name of a submodule, because importing that submodule would replace the export.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_exports(
    front: str, exports: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of a package.

    Args:
        front: The package's `__name__`.
        exports: Names by the module that defines them, each `name` or `name as exported_name`.
    """
    origins: dict[str, tuple[str, str]] = {}
    for module, names in exports.items():
        for name in names:
            defined, _, exported = name.partition(" as ")
            origins[exported or defined] = (module, defined)

    def load(name: str) -> Any:
        if name not in origins:
            raise AttributeError(f"module {front!r} has no attribute {name!r}", name=name, obj=sys.modules[front])
        module, defined = origins[name]
        value = getattr(import_module(module), defined)
        setattr(sys.modules[front], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[front]), *origins})

    return load, listed
