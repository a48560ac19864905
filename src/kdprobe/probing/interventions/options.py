"""Options of the interventions, `attribution` and `shapley`; light to import, so that listing plugins stays quick."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Into = Literal["first", "student"]
INTO: tuple[Into, ...] = ("first", "student")


class AttributionOptions(BaseModel):
    """Options of `attribution`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    problems: int = Field(default=8, ge=1, description="Number of problems, starting with the first.")
    students: list[str] = Field(default=[], description="Students or arms; by default all.")


class InterventionOptions(AttributionOptions):
    """Options of all interventions."""

    exact: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        default=8, description="Number of top heads, ranked by gradient, whose effects are computed exactly, or `all`."
    )
    together: int = Field(default=8, ge=1, description="Number of the top heads to replace together, at most `exact`.")
    folds: int = Field(
        default=5,
        ge=2,
        description="Number of folds of the problems, so that heads are selected on some problems and measured on "
        "others.",
    )
    random_sets: int = Field(
        default=19,
        ge=0,
        description="Random sets of the same size to compare with; at least 19 are needed for p to reach 0.05.",
    )
    same_layers: bool = Field(default=False, description="Draw random sets from the same layers.")


class AblationOptions(InterventionOptions):
    """Options of `ablation`."""

    exact: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        default=8,
        description="Number of top heads, ranked by gradient, whose effects are computed exactly, or `all`. In trained "
        "students, the heads whose attention diverged most from the first student's are added; `together` says how "
        "many.",
    )
    replacement: Literal["mean", "zero"] = Field(
        default="mean", description="What replaces a head's output: its mean over the problems, or zero."
    )
    accuracy: bool = Field(
        default=False,
        description="Also evaluate students with lm-eval, once without their top heads and once without the same "
        "number of random heads, on the problems that the heads were not selected on, if there are any.",
    )
    max_new_tokens: int = Field(default=256, ge=1, description="Token budget of that evaluation.")


class PatchingOptions(InterventionOptions):
    """Options of `patching`."""

    into: list[Into] = Field(
        default=["first", "student"],
        min_length=1,
        description="Replace the outputs of the first student with the trained one's, or vice versa.",
    )


class CircuitsOptions(AttributionOptions):
    """Options of `circuits`."""

    layers: bool = Field(
        default=True,
        description="Also measure the update of each layer's attention, and that of its MLP, as a whole; this adds two "
        "groups per layer.",
    )
    exact: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        default=8,
        description="Number of top single circuits of attention, ranked by gradient, whose effects are computed "
        "exactly, or `all`. Circuits that are among the top when ranked only on the earlier folds are added.",
    )
    folds: int = Field(
        default=5,
        ge=2,
        description="Number of folds of the problems, so that what ranks first on some problems is measured on others.",
    )


class ShapleyOptions(AttributionOptions):
    """Options of `shapley`."""

    problems: int = Field(
        default=4,
        ge=1,
        description="Number of problems, starting with the first; each word costs one forward pass per random order.",
    )
    orders: int = Field(
        default=8,
        ge=2,
        description="Random orders of the words; the standard error falls with the square root of their number.",
    )
    target: Literal["solution", "value"] = Field(
        default="solution", description="The gold tokens whose log-probability is explained."
    )
