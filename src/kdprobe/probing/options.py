"""Options of the built-in analyses; light to import, so that listing plugins stays quick."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class HeadsOptions(BaseModel):
    """Which metric decides, and how large a change has to be."""

    model_config = ConfigDict(extra="forbid")

    metric: str = Field(default="entropy", description="The head metric by which heads have moved or not.")
    smallest_effect: float = Field(
        default=0.05, ge=0, description="The smallest change of that metric, in its unit, that is of interest."
    )
    permutations: int = Field(default=10_000, ge=100, description="Of the sign-flip test.")


class DivergenceOptions(BaseModel):
    """How large a divergence has to be."""

    model_config = ConfigDict(extra="forbid")

    smallest_effect: float = Field(
        default=0.01, ge=0, description="The smallest Jensen-Shannon divergence, in nats, that is of interest."
    )
