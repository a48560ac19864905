"""The section `[tune]` of a config, and its `[tune.space]`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Criterion = Literal["log-p-gold-value", "accuracy"]

RANGES = ("alpha", "learning_rate")
"""The names whose space is a range; the others have a list of choices."""


def _distinct(values: list[Any]) -> list[Any]:
    if repeated := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"{repeated[0]!r} appears twice")
    return values


def _rising(ends: list[float]) -> list[float]:
    if ends != sorted(ends):
        raise ValueError("the lower end must come first")
    return ends


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SpaceConfig(BaseModel):
    """What is varied; everything else stays as in `[distill]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: Annotated[list[_Positive], AfterValidator(_distinct)] | None = Field(default=None, min_length=1)
    alpha: Annotated[list[_Finite], AfterValidator(_rising)] | None = Field(default=None, min_length=2, max_length=2)
    learning_rate: Annotated[list[_Positive], AfterValidator(_rising)] | None = Field(
        default=None, min_length=2, max_length=2
    )
    rank: Annotated[list[Annotated[int, Field(ge=1)]], AfterValidator(_distinct)] | None = Field(
        default=None, min_length=1
    )
    divergence: Annotated[list[str], AfterValidator(_distinct)] | None = Field(default=None, min_length=1)


DEFAULT_SPACE = SpaceConfig(
    temperature=[1.0, 2.0, 4.0],
    alpha=[0.0, 0.9],
    learning_rate=[5e-5, 5e-3],
    rank=[4, 8, 16, 32],
    divergence=["forward-kl", "reverse-kl", "jsd"],
)
"""Used without `[tune.space]`, except for options that the distiller does not have."""


class TuneConfig(BaseModel):
    """How the distiller's options are searched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation: int = Field(default=64, ge=2, description="Validation problems, from the transfer split.")
    trials: int = Field(default=20, ge=1, description="Total number of trials, including earlier ones.")
    strategy: str | None = Field(default=None, description="Strategy whose transfer set is used; the first by default.")
    by: Criterion = "log-p-gold-value"
    sampler: Literal["tpe", "random"] = "tpe"
    seed: int = Field(default=0, description="Seed of the sampler.")
    space: SpaceConfig | None = None
