"""Options of the interventions, `attribution` and `shapley`; fast to import, so that listing plugins stays fast."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Into = Literal["first", "student"]


class AttributionOptions(BaseModel):
    """Options for what heads write into the logits of the gold tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    problems: int = Field(default=8, ge=1, description="Number of problems, from the first on.")
    students: list[str] = Field(default=[], description="Students or arms to analyse; all by default.")


class InterventionOptions(AttributionOptions):
    """Further options of interventions."""

    exact: int | Literal["all"] = Field(
        default=8, description="How many heads, in the order of the gradient, to run exactly, or `all`."
    )
    together: int = Field(default=8, ge=1, description="How many of those to also replace together.")
    random_sets: int = Field(
        default=19, ge=0, description="Random sets of the same size to compare with; 19 can give p = 0.05."
    )
    same_layers: bool = Field(default=False, description="Draw random sets with the same number of heads per layer.")


class AblationOptions(InterventionOptions):
    """Options for what heads do for the gold solution, by ablating them."""

    replacement: Literal["mean", "zero"] = Field(
        default="mean", description="What replaces a head: its mean output over the problems, or zero."
    )
    accuracy: bool = Field(
        default=False, description="Evaluate students with lm-eval without their top heads, and without random ones."
    )
    max_new_tokens: int = Field(default=256, ge=1, description="Token budget of that evaluation.")


class PatchingOptions(InterventionOptions):
    """Options for which heads carry what training gained, by moving head outputs between students."""

    into: list[Into] = Field(
        default=["first", "student"],
        min_length=1,
        description="Whose outputs are replaced: the first student's by the trained one's, or vice versa.",
    )


class ShapleyOptions(AttributionOptions):
    """Options for which words of the question carry what."""

    problems: int = Field(
        default=4, ge=1, description="Number of problems, from the first on; every word costs a pass per order."
    )
    orders: int = Field(
        default=8,
        ge=2,
        description="Random orders of the words; the standard error falls with the square root of their number.",
    )
    target: Literal["solution", "value"] = Field(
        default="solution", description="The gold tokens whose log-probability the words carry."
    )
