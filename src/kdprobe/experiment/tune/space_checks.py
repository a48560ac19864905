"""Which tuned values a distiller accepts, and errors in `[tune]` beyond its types."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from kdprobe.errors import UsageError
from kdprobe.experiment.arm_names import resolved
from kdprobe.experiment.config_checks import strategies_of
from kdprobe.experiment.section import sentences
from kdprobe.experiment.tune.config import RANGES, SpaceConfig
from kdprobe.experiment.tune.paths import PATHS, put_at
from kdprobe.host.registry import Host


def tuning_mistakes(data: Mapping[str, Any], host: Host) -> list[str]:
    """Errors in `[tune]` beyond the types: a strategy that does not exist, a space that does not fit.

    Args:
        data: The config as read from its file.
        host: The plugins.
    """
    tune = data.get("tune")
    if not isinstance(tune, dict):
        return []
    mistakes = []
    strategies = dict(strategies_of(data))
    if isinstance(name := tune.get("strategy"), str) and not resolved(name, strategies):
        mistakes.append(f"tune.strategy: unknown strategy {name!r}; available: {', '.join(strategies)}")
    if isinstance(space := tune.get("space"), dict):
        mistakes += _space_mistakes(data, space, host)
    return mistakes


def _space_mistakes(data: Mapping[str, Any], space: dict[str, Any], host: Host) -> list[str]:
    if not space:
        return ["tune.space: must not be empty; add an option to tune, or remove the section"]
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


def accepted_values(distiller: str, options: dict[str, Any], name: str, values: list[Any], host: Host) -> list[Any]:
    """The values that a distiller accepts; a range is accepted whole or not at all."""
    if not _takes(distiller, PATHS[name], host):
        return []
    accepted = [value for value in values if not _refusals(distiller, options, name, value, host)]
    return [] if name in RANGES and accepted != values else accepted


def _takes(distiller: str, path: tuple[str, ...], host: Host) -> bool:
    model: Any = host.get("distillers", distiller).spec.options
    for part in path:
        fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
        if part not in fields:
            return False
        model = fields[part].annotation
    return True


def _refusals(distiller: str, options: dict[str, Any], name: str, value: Any, host: Host) -> list[str]:
    """Why a distiller rejects a value of this option; other checks report errors in other options."""
    candidate = copy.deepcopy(options) if isinstance(options, dict) else {}
    try:
        put_at(candidate, PATHS[name], value)
        host.options("distillers", distiller, candidate)
    except ValidationError as error:
        prefix = ".".join(PATHS[name]) + ": "
        return [line.removeprefix(prefix) for line in sentences(error) if line.startswith(prefix)]
    except (UsageError, TypeError):
        return []
    return []
