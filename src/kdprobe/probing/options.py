"""Options of the built-in analyses; no torch here, so that listing plugins stays quick."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class ShapleyOptions(BaseModel):
    """How much is looked at, and for what."""

    model_config = ConfigDict(extra="forbid")

    problems: PositiveInt = Field(4, description="The first so many of the problems: a word costs a pass per order.")
    orders: int = Field(8, ge=2, description="Random orders of the words; the standard error falls with their root.")
    target: Literal["solution", "value"] = Field("solution", description="What the words carry: log p of which tokens.")
