"""Configs in Python: a file, a dict, or `None` for the embedded experiment."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.given.functions import Functions, add_functions
from kdprobe.api.session import AnyPath
from kdprobe.errors import UsageError
from kdprobe.files import without_none
from kdprobe.words import with_article

if TYPE_CHECKING:
    from kdprobe.experiment.config import Experiment
    from kdprobe.host.registry import Host

Config = AnyPath | Mapping[str, Any] | None
IN_MEMORY = "The config"
"""The name of a dict in messages."""


def experiment_from(
    config: Config,
    host: Host,
    *,
    full: bool = False,
    strategies: Functions = None,
    analyses: Functions = None,
    head_metrics: Functions = None,
) -> Experiment:
    """Reads and checks a config, and adds the functions that it does not name.

    Args:
        config: A TOML file, the same as a dict, or `None` for the embedded experiment.
        host: The plugins, to check names and options; the functions are added to it.
        full: Add the remaining strategies of the response-priming paper and both controls, train at least three seeds
            of each, run all of kdprobe's own analyses that apply, except `attention` and `shapley`, and evaluate the
            retention task `basics_kdprobe` unless the config has a retention task.
        strategies: Functions by name, used as strategies.
        analyses: Functions by name, used as analyses.
        head_metrics: Functions by name, used as head metrics.

    Raises:
        UsageError: The config cannot be read or has errors, or a function cannot be used.
    """
    from kdprobe.experiment.load_config import experiment_of, in_full, read_config, with_missing

    add_functions(host, strategies, analyses, head_metrics)
    if config is None or isinstance(config, str | os.PathLike):
        data, source, folder = read_config(None if config is None else Path(config))
    elif isinstance(config, Mapping):
        data, source, folder = _plain(config, "config"), IN_MEMORY, Path()
    else:
        raise UsageError(f"The config is {with_article(type(config))}.", "Pass a TOML file, or its content as a dict.")
    if full:
        data = in_full(data, host)
    if strategies:
        data = {**data, "strategies": with_missing(data.get("strategies", []), strategies)}
    if analyses:
        probe = {"analyses": ["heads"], **data.get("probe", {})}
        data = {**data, "probe": {**probe, "analyses": with_missing(probe["analyses"], analyses)}}
    return experiment_of(data, host, source, folder=folder)


def config_text(config: Config) -> str:
    """Returns a config as TOML: the unchanged text of a file, or a dict as TOML.

    Raises:
        UsageError: The file cannot be read.
    """
    import tomlkit

    from kdprobe.experiment.config import EMBEDDED

    if isinstance(config, Mapping):
        return tomlkit.dumps(without_none(_plain(config, "config")))
    return Path(config or EMBEDDED).read_text(encoding="utf-8")


def _plain(value: Any, key: str) -> Any:
    """Returns a value as TOML could represent it.

    Raises:
        UsageError: TOML has no such value.
    """
    if isinstance(value, Mapping):
        if strange := [name for name in value if not isinstance(name, str)]:
            raise UsageError(f"{key}: the key {strange[0]!r} is not a string.", "Use strings as keys of a config.")
        return {name: _plain(inner, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, key) for inner in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        # A numpy number; some of these are subclasses of Python's numbers and would be written differently.
        return value.item()
    if value is None or isinstance(value, str | bool | int | float | dt.date):
        return value
    raise UsageError(
        f"{key}: a config cannot contain {with_article(type(value))}.", "Use strings, numbers, lists or dicts."
    )
