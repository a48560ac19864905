"""Options of the analyses."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class CopyingOptions(BaseModel):
    """When a head counts as one that copies."""

    model_config = ConfigDict(extra="forbid")

    threshold: float = Field(default=0.5, gt=0, lt=1, description="Copying score above which a head copies.")


class SuccessorOptions(BaseModel):
    """Which numbers are tried."""

    model_config = ConfigDict(extra="forbid")

    largest: int = Field(default=100, ge=5, description="Numbers from 0 up to here, those that are one token each.")
