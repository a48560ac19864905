"""Options of the analyses of attention and of `confidence`; light to import, so that listing plugins stays quick."""

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


class AssociationOptions(BaseModel):
    """Which metric, and how problems are grouped by length."""

    model_config = ConfigDict(extra="forbid")

    metric: str = Field(default="entropy", description="The head metric.")
    strata: int = Field(default=4, ge=1, description="Groups of problems of like length; only within them is compared.")


class ConfidenceOptions(BaseModel):
    """How calibration is counted."""

    model_config = ConfigDict(extra="forbid")

    bins: int = Field(default=10, ge=2, description="Of confidence, of equal width.")


class AttentionOptions(BaseModel):
    """What is shown."""

    model_config = ConfigDict(extra="forbid")

    heads: list[tuple[int, int]] = Field(
        default=[],
        description="Layer and head of each; by default the three in which students vary most on this problem.",
    )
    problem: int = Field(default=0, ge=0, description="Which of the problems, from 0.")
