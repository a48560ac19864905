"""Options of the interventions, `attribution` and `shapley`; light to import, so that listing plugins stays quick."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Into = Literal["first", "student"]


class AttributionOptions(BaseModel):
    """What heads write into the logits of the gold tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    problems: int = Field(default=8, ge=1, description="The first so many of the problems that are looked at.")
    students: list[str] = Field(default=[], description="Which students or arms; unless told, all.")


class InterventionOptions(AttributionOptions):
    """What interventions take besides."""

    exact: int | Literal["all"] = Field(
        default=8, description="So many heads that the gradient puts first are replaced for real, or `all`."
    )
    together: int = Field(default=8, ge=1, description="So many of those are also replaced together.")
    random_sets: int = Field(
        default=19, ge=0, description="Random sets of as many heads, to compare with; 19 can show p = 0.05."
    )
    same_layers: bool = Field(default=False, description="Random sets take as many heads from each layer.")


class AblationOptions(InterventionOptions):
    """What heads do for the gold solution, by taking them away."""

    replacement: Literal["mean", "zero"] = Field(
        default="mean", description="What takes a head's place: its mean output over the problems, or nothing."
    )
    accuracy: bool = Field(
        default=False, description="Let lm-eval examine students without their top heads, and without random ones."
    )
    max_new_tokens: int = Field(default=256, ge=1, description="Token budget of that examination.")


class PatchingOptions(InterventionOptions):
    """Which heads carry what training gained, by moving head outputs between students."""

    into: list[Into] = Field(
        default=["first", "student"],
        min_length=1,
        description="Whose outputs are replaced: the first student's by the trained one's, or the other way round.",
    )


class ShapleyOptions(AttributionOptions):
    """Which words of the question carry what."""

    problems: int = Field(
        default=4, ge=1, description="The first so many of the problems: every word costs a pass per order."
    )
    orders: int = Field(
        default=8, ge=2, description="Random orders of the words; the standard error falls with their root."
    )
    target: Literal["solution", "value"] = Field(
        default="solution", description="What words carry: the log-probability of which gold tokens."
    )
