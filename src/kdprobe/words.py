"""Words that depend on what a message is about: nouns and pronouns for a count, lists, and a class's article."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, singular: str, plural: str = "") -> str:
    """A count with its noun, such as `1 stage` or `2 stages`.

    Args:
        count: How many.
        singular: The noun for one.
        plural: The noun for any other number; by default the singular with an `s`.
    """
    return f"{count} {singular if count == 1 else plural or f'{singular}s'}"


def these(count: int, singular: str) -> str:
    """What was counted before, such as `this problem` or `these problems`.

    Args:
        count: How many.
        singular: The noun for one.
    """
    return f"this {singular}" if count == 1 else f"these {singular}s"


def enumerated(names: Sequence[str], conjunction: str = "and") -> str:
    """Names in a sentence, such as `a`, `a and b` or `a, b and c`.

    Args:
        names: At least one name.
        conjunction: The word before the last of several.
    """
    *others, last = names
    return f"{', '.join(others)} {conjunction} {last}" if others else last


def with_article(kind: type) -> str:
    """A class's name preceded by `a` or `an`, as it is spoken: `an int`, `an ndarray`, `a list`, `a UUID`."""
    name = kind.__name__
    return f"{'an' if name.startswith(('ndarray', *'AEIOaeio')) else 'a'} {name}"


def duration(seconds: float) -> str:
    """A duration, rounded as one would say it: `40 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:  # noqa: PLR2004 - below this, minutes are too coarse
        return f"{seconds:.0f} s"
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if minutes < 120 else f"{hours} h {rest} min" if rest else f"{hours} h"  # noqa: PLR2004
