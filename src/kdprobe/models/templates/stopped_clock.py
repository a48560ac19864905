"""The time that chat templates see: a given day instead of the clock's.

transformers gives templates a function that reads the clock, and converts anything else of that name to text.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import RLock
from typing import Any, Self

_ONE_AT_A_TIME = RLock()


@contextmanager
def stopped_clock(day: dt.date) -> Iterator[None]:
    """Sets the time that templates see while the block runs: midnight of that day."""
    from transformers.utils import chat_template_utils

    with _ONE_AT_A_TIME:
        clock = chat_template_utils.datetime
        chat_template_utils.datetime = _clock_of(day)
        try:
            yield
        finally:
            chat_template_utils.datetime = clock


@lru_cache(maxsize=8)
def _clock_of(day: dt.date) -> type[dt.datetime]:
    class Fixed(dt.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Self:
            return cls(day.year, day.month, day.day, tzinfo=tz)

    return Fixed
