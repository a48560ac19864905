"""How the page writes numbers: once, in Python, so that tables and charts agree with the terminal to the last digit."""

from __future__ import annotations

from kdprobe.stats.intervals import Interval

TOO_FEW = "too few problems"
"""Shown instead of an interval if there are too few values for one."""


def percent(share: float) -> str:
    """A share, in percent."""
    return f"{share * 100:.1f}%"


def percent_interval(interval: Interval) -> str:
    """The interval of a share."""
    return f"{interval.low * 100:.1f} to {interval.high * 100:.1f}%" if interval.known else TOO_FEW


def points(difference: float) -> str:
    """A difference of shares, with its sign."""
    return f"{difference * 100:+.1f} points"


def points_interval(interval: Interval) -> str:
    """The interval of a difference of shares."""
    return f"{interval.low * 100:+.1f} to {interval.high * 100:+.1f}" if interval.known else TOO_FEW
