"""What the sections of a config have in common."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_COLDEST = 0.01
"""Logits are divided by the temperature; below this, float32 overflows, and sampling is greedy anyway."""


def not_too_cold(temperature: float) -> float:
    """Returns the temperature.

    Raises:
        ValueError: It is so low that dividing the logits by it overflows.
    """
    if not (temperature == 0 or _COLDEST <= temperature < math.inf):
        raise ValueError(f"must be 0 (greedy decoding) or at least {_COLDEST}")
    return temperature


Seed = Annotated[int, Field(ge=0, lt=2**32)]
Temperature = Annotated[float, Field(ge=0), AfterValidator(not_too_cold)]


def named(value: Any) -> Any:
    """A table from a plain string, which is its name; anything else as it is."""
    return {"name": value} if isinstance(value, str) else value


class Section(BaseModel):
    """A section: unknown keys are errors, and nothing is changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Plugged(Section):
    """A section that names something a plugin provides and passes options to it."""

    name: str = Field(description="Name as listed by `kdprobe plugins`.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the plugin.")
