"""How long and how large things from outside may get; each limit can be changed by an environment variable."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from kdprobe.errors import UsageError


@dataclass(frozen=True)
class Limit:
    """A bound that has a default.

    Attributes:
        variable: The environment variable that sets another.
        default: What holds without it.
    """

    variable: str
    default: float

    @property
    def value(self) -> float:
        """What holds now.

        Raises:
            UsageError: The variable is not a number above 0.
        """
        text = os.environ.get(self.variable, "")
        if not text:
            return self.default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not value > 0:
            raise UsageError(f"{self.variable} is {text!r}.", "It must be a number above 0; inf lifts the limit.")
        return value

    @property
    def hint(self) -> str:
        """How to raise it, as a sentence."""
        return f"Where that is meant, raise {self.variable} (now {self.value:g})."


TEMPLATE_SECONDS = Limit("KDPROBE_TEMPLATE_SECONDS", 20)
"""For one rendering of a chat template."""
TEMPLATE_GB = Limit("KDPROBE_TEMPLATE_GB", 2)
"""Of memory for one rendering, where the system can limit it."""
UNPACKED_GB = Limit("KDPROBE_UNPACKED_GB", 4)
"""Of what a compressed file may unpack to."""
