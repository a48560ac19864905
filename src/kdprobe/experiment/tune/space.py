"""What `kdprobe tune` may vary: the section `[tune]`, and how a choice becomes a distiller's options.

A choice is a plain table such as `{"temperature": 2.0, "rank": 16}`; its names are those of `PATHS`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kdprobe.distill.kinds import PARAMETERS
from kdprobe.errors import UsageError
from kdprobe.experiment.arm_names import resolved
from kdprobe.experiment.config_checks import sentences, strategies_of
from kdprobe.host.registry import Host

Criterion = Literal["log-p-gold-value", "accuracy"]

PATHS: dict[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "alpha": ("alpha",),
    "learning_rate": ("learning_rate",),
    "rank": ("lora", "rank"),
    "divergence": ("divergence",),
}
"""The path of each name of the space in a distiller's options."""

RANGES = ("alpha", "learning_rate")
LOGARITHMIC = ("learning_rate",)


def _distinct(values: list[Any]) -> list[Any]:
    if repeated := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"{repeated[0]!r} occurs twice")
    return values


def _rising(ends: list[float]) -> list[float]:
    if ends != sorted(ends):
        raise ValueError("the lower end comes first")
    return ends


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SpaceConfig(BaseModel):
    """What is varied; what is not named stays as `[distill]` has it."""

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
"""Without `[tune.space]`; what the distiller does not take is left out."""


class TuneConfig(BaseModel):
    """How the distiller's options are searched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation: int = Field(default=64, ge=2, description="Problems of the transfer split that decide.")
    trials: int = Field(default=20, ge=1, description="Trials in all, those of earlier calls included.")
    strategy: str | None = Field(default=None, description="Whose transfer set; the first one's unless told.")
    by: Criterion = "log-p-gold-value"
    sampler: Literal["tpe", "random"] = "tpe"
    seed: int = Field(default=0, description="Of the sampler.")
    space: SpaceConfig | None = None


@dataclass(frozen=True)
class Space:
    """The search space of one distiller.

    Attributes:
        options: The distiller's options as the config has them.
        current: What the config has for every name that is varied.
        varied: Name to its choices, or to the two ends of its range.
        scale: alpha and rank of the config's adapter and whether it is rank-stabilised, where there are such.
    """

    options: dict[str, Any]
    current: dict[str, Any]
    varied: dict[str, list[Any]]
    scale: tuple[float, int, bool] | None

    def holds_current(self) -> bool:
        """Whether the config's own options lie in the space."""
        return all(
            isinstance(self.current[name], int | float) and values[0] <= self.current[name] <= values[1]
            if name in RANGES
            else self.current[name] in values
            for name, values in self.varied.items()
        )

    def legible(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """A choice with numbers a person would write: three significant digits, inside their range."""
        return {name: self._legible(name, value) if name in RANGES else value for name, value in choice.items()}

    def _legible(self, name: str, value: float) -> float:
        if value == self.current[name]:
            return value
        low, high = map(float, self.varied[name])
        return min(max(float(f"{value:.3g}"), low), high)

    def chosen(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """The distiller's options with a choice in them, all of it written out.

        With another rank, `lora.alpha` moves along, so that the factor that the update is scaled by (alpha / rank, or
        alpha / sqrt(rank)) stays the config's: the rank is then tuned, and not a second learning rate. With another
        divergence, the parameter of the former one goes.
        """
        options = copy.deepcopy(self.options)
        for name, value in choice.items():
            _put(options, PATHS[name], value)
        if choice.get("rank", self.current.get("rank")) != self.current.get("rank") and self.scale:
            alpha, rank, stabilised = self.scale
            ratio = choice["rank"] / rank
            _put(options, ("lora", "alpha"), alpha * (math.sqrt(ratio) if stabilised else ratio))
        if "divergence" in choice:
            _drop_foreign(options, choice["divergence"])
        return options


def space_of(distiller: str, options: dict[str, Any], config: SpaceConfig | None, host: Host) -> Space:
    """The space that a config describes.

    Args:
        distiller: Its name.
        options: Its options, as the config has them.
        config: `[tune.space]`, or `None` for what of the default space the distiller takes.
        host: Who provides the distiller.

    Raises:
        UsageError: The distiller takes none of what could be tuned.
    """
    named = (config or DEFAULT_SPACE).model_dump(exclude_none=True)
    if config is None:
        named = {name: _taken(distiller, options, name, values, host) for name, values in named.items()}
    varied = {name: values for name, values in named.items() if values}
    if not varied:
        raise UsageError(
            f"The distiller {distiller!r} has no option that can be tuned.",
            f"Its options would have to hold one of {', '.join('.'.join(path) for path in PATHS.values())}.",
        )
    validated = host.options("distillers", distiller, options)
    current = {name: _get(validated, PATHS[name]) for name in varied}
    lora: Any = getattr(validated, "lora", None)
    scale = (lora.alpha, lora.rank, getattr(lora, "rslora", False)) if hasattr(lora, "alpha") else None
    return Space(options, current, varied, scale)


def tuning_mistakes(data: Mapping[str, Any], host: Host) -> list[str]:
    """What is wrong with `[tune]` beyond the types: a strategy that does not exist, a space that does not fit.

    Args:
        data: The config as it was read.
        host: Who provides the distiller.
    """
    tune = data.get("tune")
    if not isinstance(tune, dict):
        return []
    mistakes = []
    strategies = dict(strategies_of(data))
    if isinstance(name := tune.get("strategy"), str) and not resolved(name, strategies):
        mistakes.append(f"tune.strategy: there is no strategy {name!r} here; there are {', '.join(strategies)}")
    if isinstance(space := tune.get("space"), dict):
        mistakes += _space_mistakes(data, space, host)
    return mistakes


def _space_mistakes(data: Mapping[str, Any], space: dict[str, Any], host: Host) -> list[str]:
    if not space:
        return ["tune.space: names nothing to tune; name something, or leave the section out"]
    section = data.get("distill", {})
    distiller = section.get("name", "logits") if isinstance(section, dict) else None
    if distiller not in host.names("distillers"):
        return []
    options = section.get("options") or {}
    mistakes = []
    for name, values in space.items():
        try:
            SpaceConfig.model_validate({name: values})
        except ValidationError:
            continue  # reported by the check of the whole config
        if not _takes(distiller, PATHS[name], host):
            mistakes.append(f"tune.space.{name}: the distiller {distiller!r} has no option {'.'.join(PATHS[name])!r}")
            continue
        for value in values:
            mistakes += [
                f"tune.space.{name}: {refusal}" for refusal in _refusals(distiller, options, name, value, host)
            ]
    return mistakes


def _taken(distiller: str, options: dict[str, Any], name: str, values: list[Any], host: Host) -> list[Any]:
    """Those of the values that a distiller takes; a range is taken whole or not at all."""
    if not _takes(distiller, PATHS[name], host):
        return []
    taken = [value for value in values if not _refusals(distiller, options, name, value, host)]
    return [] if name in RANGES and taken != values else taken


def _takes(distiller: str, path: tuple[str, ...], host: Host) -> bool:
    model: Any = host.get("distillers", distiller).spec.options
    for part in path:
        fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
        if part not in fields:
            return False
        model = fields[part].annotation
    return True


def _refusals(distiller: str, options: dict[str, Any], name: str, value: Any, host: Host) -> list[str]:
    """Why a distiller refuses a value of this option; mistakes in other options are reported by other checks."""
    candidate = copy.deepcopy(options) if isinstance(options, dict) else {}
    try:
        _put(candidate, PATHS[name], value)
        host.options("distillers", distiller, candidate)
    except ValidationError as error:
        prefix = ".".join(PATHS[name]) + ": "
        return [line.removeprefix(prefix) for line in sentences(error, None) if line.startswith(prefix)]
    except (UsageError, TypeError):
        return []
    return []


def _drop_foreign(options: dict[str, Any], divergence: str) -> None:
    own_parameter = PARAMETERS.get(divergence, ("", 0.0))[0]
    for parameter in {name for name, _ in PARAMETERS.values()} - {own_parameter}:
        options.pop(parameter, None)


def _put(options: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        options = options.setdefault(part, {})
    options[path[-1]] = value


def _get(options: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        options = getattr(options, part)
    return options
