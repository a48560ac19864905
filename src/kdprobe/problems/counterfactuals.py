"""Counterfactuals: for a problem, others of the same form that have another answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kdprobe.host.registry import Host
from kdprobe.problems.problem import Problem

Counterfactuals = Callable[[Problem], Iterable[Problem]]
"""Yields counterfactuals of a problem, the same ones in the same order every time; none if it has none."""


def offers_counterfactuals(host: Host, source: str) -> bool:
    """Whether a problem source offers counterfactuals; raises `UsageError` if there is no such source."""
    return _builder(host, source) is not None


def counterfactuals_of(host: Host, source: str, options: Any) -> Counterfactuals | None:
    """What a problem source offers as counterfactuals, or `None` if it offers none.

    Args:
        host: The plugins.
        source: The problem source.
        options: Its validated options.

    Raises:
        UsageError: There is no such source.
    """
    make = _builder(host, source)
    return None if make is None else make(options)


def _builder(host: Host, source: str) -> Callable[[Any], Counterfactuals] | None:
    # A plugin's record of another class has no counterfactuals.
    return getattr(host.get("problem-sources", source).spec, "counterfactuals", None)
