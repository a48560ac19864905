"""Whether a model's weights are needed: a plan does without, and so can be made before terabytes are downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_needed: ContextVar[bool] = ContextVar("weights needed", default=True)


@contextmanager
def planning_without_weights() -> Iterator[None]:
    """Makes `resolve` accept models whose weights are not here, and not download them."""
    token = _needed.set(False)
    try:
        yield
    finally:
        _needed.reset(token)


def weights_needed() -> bool:
    """Whether models need their weights."""
    return _needed.get()
