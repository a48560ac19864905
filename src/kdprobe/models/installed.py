"""Which libraries are installed, without importing them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from importlib.util import find_spec


@cache
def version(library: str) -> str:
    """The installed version of a library, or `absent`."""
    try:
        return installed(library)
    except PackageNotFoundError:
        return "absent"


def importable(package: str) -> bool:
    """Whether a package is installed."""
    return find_spec(package) is not None
