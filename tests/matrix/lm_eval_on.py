"""Plain lm-eval on another day: `python lm_eval_on.py 2024-07-26 run --model hf …`.

Chat templates that ask for the date get that day; everything else is lm-eval as it is installed.
"""

import datetime as dt
import sys

from transformers.utils import chat_template_utils


class Day(dt.datetime):
    """A stopped clock."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> "Day":
        """Midnight of that day."""
        day = dt.date.fromisoformat(DAY)
        return cls(day.year, day.month, day.day, tzinfo=tz)


if __name__ == "__main__":
    DAY = sys.argv.pop(1)
    chat_template_utils.datetime = Day
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
