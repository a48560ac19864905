"""Checks of a config beyond the types of its sections.

All checks read the raw data, so that one error never hides another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from kdprobe.errors import UsageError
from kdprobe.evaluation.engines.engine import BUILT_IN
from kdprobe.experiment.arm_names import BARE, UNPRIMED, display_name, resolved
from kdprobe.experiment.section import sentences
from kdprobe.host.registry import Host
from kdprobe.host.suggestions import keys_of
from kdprobe.students.student import FINE_TUNED, UNTRAINED

CONTROLS = (UNTRAINED, FINE_TUNED)
OWN, GOLD, TEXT_FILE = "own", "gold", ".jsonl"
"""Values of transfer.texts; any other names a strategy."""
VERSIONS = "plugin_versions"
_BITS = 64


def impossible_numbers(data: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Keys of numbers that no computation can use, and why: infinities, NaN, and integers beyond 64 bits."""
    match data:
        case dict():
            for name, value in data.items():
                yield from impossible_numbers(value, f"{key}.{name}" if key else name)
        case list():
            for index, value in enumerate(data):
                yield from impossible_numbers(value, f"{key}.{index}")
        case float() if not math.isfinite(data):
            yield key, f"{data} is not a finite number"
        case int() if data.bit_length() >= _BITS:
            yield key, f"{data:.3g} is too large"


def known_keys(data: Mapping[str, Any], host: Host, model: type[BaseModel]) -> Iterator[str]:
    """All keys that a config could have: those of its sections, and the options of the plugins that it names."""
    yield from keys_of(model)
    for kind, _, name, options_key, _ in _plugged(data):
        if name in host.unique_names(kind):
            yield from (f"{options_key}.{key}" for key in keys_of(host.get(kind, name).spec.options))


def plugin_mistakes(data: Mapping[str, Any], host: Host, known: Callable[[], Iterable[str]]) -> list[str]:
    """Names that no plugin provides, and options that a plugin does not accept.

    Args:
        data: The config as read from its file.
        host: The plugins.
        known: All keys that the config could have, for suggestions.

    Returns:
        One sentence per error, starting with its key in the config.
    """
    mistakes = []
    for kind, name_key, name, options_key, options in _plugged(data):
        try:
            host.options(kind, name, options)
        except UsageError as error:
            mistakes.append(f"{name_key}: {error}")
        except ValidationError as error:
            mistakes += sentences(error, known, options_key)
    return mistakes


def version_mistakes(data: Mapping[str, Any], host: Host) -> Iterator[str]:
    """Required plugin versions that are not installed: one sentence each, starting with its key in the config.

    Args:
        data: The config as read from its file.
        host: The plugins.
    """
    wanted = data.get(VERSIONS)
    for name, versions in wanted.items() if isinstance(wanted, dict) else ():
        # Values that are not strings are reported by the config's own validation.
        if isinstance(versions, str) and (mistake := _mistake(name, versions, host)):
            yield f"{VERSIONS}.{name}: {mistake}"


def _mistake(name: str, versions: str, host: Host) -> str | None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion

    try:
        wanted = SpecifierSet(versions, prereleases=True)
    except InvalidSpecifier:
        return f"{versions!r} is not a version range such as '>=0.2' or '>=0.2,<0.3'"
    names = {name, canonicalize_name(name)}
    found = [one for one in host.providers if names & {one.name, one.source, canonicalize_name(one.source)}]
    provider = next((one for one in found if one.status == "ok"), next(iter(found), None))
    if provider is None:
        return f"no plugin with this name is installed. Install it: pip install '{name}{versions}'"
    if provider.status != "ok":
        return f"it is {provider.status}: {provider.reason}"
    try:
        fits = wanted.contains(provider.version)
    except InvalidVersion:
        fits = False
    return None if fits else f"{provider.source} has version {provider.version}, which does not match {versions}"


def listed_seeds(value: Any) -> Any:
    """Returns the seeds of a config.

    Raises:
        ValueError: It is a single value, such as a number of seeds.
    """
    if isinstance(value, int | float | str):
        raise ValueError(  # noqa: TRY004  # pydantic collects no TypeError
            "must be a list of seeds, such as [0, 1, 2], not a single value"
        )
    return value


def repeated(data: Mapping[str, Any]) -> list[str]:
    """Names and seeds that must be unique but are not."""
    mistakes = []
    strategies = strategies_of(data)
    mistakes += [
        f"strategies: {UNPRIMED!r} is reserved for the strategy {BARE!r}; use another label for {name!r}"
        for arm, name in strategies
        if arm == UNPRIMED and name != BARE
    ]
    arms = [arm for arm, name in strategies if arm != UNPRIMED or name == BARE]
    # In the words of the config, which might not contain the word "unprimed" at all.
    twice = [BARE if arm == UNPRIMED else arm for arm in _repeated(arms)]
    mistakes += [f"strategies: {arm!r} appears twice; set a label for one of them" for arm in twice]
    mistakes += [
        f"strategies: {arm!r} is the name of a control; set a label for the strategy" for arm in CONTROLS if arm in arms
    ]
    analyses = [table.get("name") for table in _listed(_table(data.get("probe")).get("analyses"))]
    mistakes += [f"probe.analyses: {name!r} appears twice" for name in _repeated(analyses)]
    seeds = data.get("seeds")
    mistakes += [f"seeds: {seed} appears twice" for seed in _repeated(seeds if isinstance(seeds, list) else [])]
    return mistakes


def texts_mistakes(data: Mapping[str, Any]) -> list[str]:
    """A `transfer.texts` that refers to nothing."""
    texts = _table(data.get("transfer")).get("texts", OWN)
    if not isinstance(texts, str) or texts in {OWN, GOLD} or texts.endswith(TEXT_FILE):
        return []
    strategies = dict(strategies_of(data))
    if resolved(texts, strategies):
        return []
    known = f"{OWN!r}, {GOLD!r}, a strategy of this run, or a {TEXT_FILE} file"
    return [f"transfer.texts: {texts!r} is not {known}; available strategies: {', '.join(strategies)}"]


def _plugged(data: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, dict[str, Any]]]:
    """Kind, key of the name, name, key of the options, and options of everything that a plugin provides."""
    problems = _table(data.get("problems"))
    if isinstance(source := problems.get("source"), str):
        yield "problem-sources", "problems.source", source, "problems.options", _table(problems.get("options"))
    for kind, section, default in (("teachers", "teacher", "transformers"), ("distillers", "distill", "logits")):
        table = data.get(section, {} if section == "distill" else None)
        if isinstance(table, dict) and isinstance(table.get("name", default), str):
            name = table.get("name", default)
            yield kind, f"{section}.name", name, f"{section}.options", _table(table.get("options"))
    evaluation = _table(data.get("evaluation"))
    if isinstance(engine := evaluation.get("engine", BUILT_IN), str):
        yield (
            "engines",
            "evaluation.engine",
            engine,
            "evaluation.engine_options",
            _table(evaluation.get("engine_options")),
        )
    tuning = _table(_table(data.get("controls")).get("fine_tune_options"))
    yield "distillers", "controls", "fine-tune", "controls.fine_tune_options", tuning
    analyses = _table(data.get("probe")).get("analyses")
    for kind, path, tables in (
        ("strategies", "strategies", _listed(data.get("strategies"))),
        ("analyses", "probe.analyses", _listed(analyses)),
    ):
        for table in tables:
            if isinstance(name := table.get("name"), str):
                item = f"{path}.{table.get('label') or name}"
                yield kind, f"{item}.name", name, f"{item}.options", _table(table.get("options"))


def strategies_of(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Display name and name of every strategy whose names are strings."""
    named = [(table.get("name"), table.get("label")) for table in _listed(data.get("strategies"))]
    return [
        (display_name(name, label), name)
        for name, label in named
        if isinstance(name, str) and (label is None or isinstance(label, str))
    ]


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[dict[str, Any]]:
    """A list of tables; a plain string in it stands for a table with that name."""
    items = value if isinstance(value, list) else []
    return [{"name": item} if isinstance(item, str) else item for item in items if isinstance(item, str | dict)]


def _repeated(values: list[Any]) -> list[Any]:
    return sorted({value for value in values if value is not None and values.count(value) > 1}, key=str)
