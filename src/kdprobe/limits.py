"""Limits on the size and run time of untrusted input; each can be changed by an environment variable."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from kdprobe.errors import UsageError


@dataclass(frozen=True)
class Limit:
    """A limit with a default.

    Attributes:
        variable: The environment variable that changes the limit.
        default: The limit if the variable is not set.
    """

    variable: str
    default: float

    @property
    def value(self) -> float:
        """The current limit.

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
            raise UsageError(f"{self.variable} is {text!r}.", "It must be a positive number; inf removes the limit.")
        return value

    @property
    def hint(self) -> str:
        """How to raise the limit, as a sentence."""
        return f"If that is intended, raise {self.variable} (now {self.value:g})."


TEMPLATE_SECONDS = Limit("KDPROBE_TEMPLATE_SECONDS", 20)
"""Time limit for rendering a chat template once."""
TEMPLATE_GB = Limit("KDPROBE_TEMPLATE_GB", 2)
"""Memory limit for rendering a chat template once, where the system can enforce it."""
UNPACKED_GB = Limit("KDPROBE_UNPACKED_GB", 4)
"""Maximum unpacked size of a compressed file."""
