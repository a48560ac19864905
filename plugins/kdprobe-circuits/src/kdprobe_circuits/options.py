"""Options of the analyses."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class CopyingOptions(BaseModel):
    """When a head counts as copying."""

    model_config = ConfigDict(extra="forbid")

    threshold: float = Field(default=0.5, gt=0, lt=1, description="Heads with a higher copying score count as copying.")


class SuccessorOptions(BaseModel):
    """Which numbers are tested."""

    model_config = ConfigDict(extra="forbid")

    largest: int = Field(
        default=100, ge=5, description="Test those numbers from 0 up to this one that are single tokens."
    )
