"""The search space of `kdprobe tune`, and how a choice from it becomes a distiller's options.

A choice is a plain table such as `{"temperature": 2.0, "rank": 16}`; its names are the keys of `PATHS`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdprobe.distill.kinds import PARAMETERS
from kdprobe.errors import UsageError
from kdprobe.experiment.tune.config import DEFAULT_SPACE, RANGES, SpaceConfig
from kdprobe.experiment.tune.paths import PATHS, get_at, put_at
from kdprobe.experiment.tune.space_checks import accepted_values
from kdprobe.host.registry import Host

LOGARITHMIC = ("learning_rate",)


@dataclass(frozen=True)
class Space:
    """The search space of one distiller.

    Attributes:
        options: The distiller's options in the config.
        current: The config's value for every varied name.
        varied: Each name mapped to its choices, or to the two ends of its range.
        scale: The config's LoRA alpha and rank, and whether it is rank-stabilised; `None` without LoRA.
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
        """A choice with numbers as a person would write them: three significant digits, within their range."""
        return {name: self._legible(name, value) if name in RANGES else value for name, value in choice.items()}

    def _legible(self, name: str, value: float) -> float:
        if value == self.current[name]:
            return value
        low, high = map(float, self.varied[name])
        return min(max(float(f"{value:.3g}"), low), high)

    def chosen(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """The distiller's options with a choice applied, all of it written out.

        With another rank, `lora.alpha` is adjusted so that the scaling factor of the update (alpha / rank, or
        alpha / sqrt(rank)) stays that of the config: this tunes the rank, not a second learning rate. With another
        divergence, the parameter of the previous one is dropped.
        """
        options = copy.deepcopy(self.options)
        for name, value in choice.items():
            put_at(options, PATHS[name], value)
        if choice.get("rank", self.current.get("rank")) != self.current.get("rank") and self.scale:
            alpha, rank, stabilised = self.scale
            ratio = choice["rank"] / rank
            put_at(options, ("lora", "alpha"), alpha * (math.sqrt(ratio) if stabilised else ratio))
        if "divergence" in choice:
            _drop_foreign(options, choice["divergence"])
        return options


def space_of(distiller: str, options: dict[str, Any], config: SpaceConfig | None, host: Host) -> Space:
    """The space described by a config.

    Args:
        distiller: The distiller's name.
        options: Its options in the config.
        config: `[tune.space]`, or `None` for the part of the default space that the distiller supports.
        host: The plugins.

    Raises:
        UsageError: The distiller has none of the options that can be tuned.
    """
    named = (config or DEFAULT_SPACE).model_dump(exclude_none=True)
    if config is None:
        named = {name: accepted_values(distiller, options, name, values, host) for name, values in named.items()}
    varied = {name: values for name, values in named.items() if values}
    if not varied:
        raise UsageError(
            f"The distiller {distiller!r} has no option that can be tuned.",
            f"Options that can be tuned: {', '.join('.'.join(path) for path in PATHS.values())}.",
        )
    validated = host.options("distillers", distiller, options)
    current = {name: get_at(validated, PATHS[name]) for name in varied}
    lora: Any = getattr(validated, "lora", None)
    scale = (lora.alpha, lora.rank, getattr(lora, "rslora", False)) if hasattr(lora, "alpha") else None
    return Space(options, current, varied, scale)


def _drop_foreign(options: dict[str, Any], divergence: str) -> None:
    own_parameter = PARAMETERS.get(divergence, ("", 0.0))[0]
    for parameter in {name for name, _ in PARAMETERS.values()} - {own_parameter}:
        options.pop(parameter, None)
