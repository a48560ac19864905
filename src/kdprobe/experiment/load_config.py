"""Reads an experiment's config: TOML, checked as a whole, with all errors reported at once."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kdprobe.errors import ConfigError, UsageError
from kdprobe.experiment.arm_names import resolved, student_name
from kdprobe.experiment.config import ALL_ANALYSES, ALL_STRATEGIES, ALL_TASKS, CONTRASTING, EMBEDDED, Experiment
from kdprobe.experiment.config_checks import (
    GOLD,
    OWN,
    impossible_numbers,
    known_keys,
    plugin_mistakes,
    repeated,
    texts_mistakes,
    version_mistakes,
)
from kdprobe.experiment.section import sentences
from kdprobe.experiment.tune.space_checks import tuning_mistakes
from kdprobe.files import refuse_special
from kdprobe.host.registry import Host
from kdprobe.problems.counterfactuals import offers_counterfactuals
from kdprobe.redaction import without_secrets
from kdprobe.stats.p_values import FEWEST_DRAWS

_SEEDS = 3
"""Fewer say nothing about a strategy."""


def load_experiment(path: Path | None, host: Host, *, full: bool = False) -> Experiment:
    """Reads and checks a config.

    Args:
        path: The TOML file, or `None` for the embedded experiment.
        host: The plugins, to check names and options; the config's own plugin folder is loaded into it.
        full: Add the remaining strategies of the response-priming paper and both controls, train at least three seeds
            of each, run all of kdprobe's own analyses that apply, except `attention` and `shapley`, and evaluate the
            retention task `basics_kdprobe` unless the config has a retention task.

    Raises:
        ConfigError: Lists all the errors.
    """
    data, source, folder = read_config(path)
    return experiment_of(in_full(data, host) if full else data, host, source, folder=folder)


def in_full(data: dict[str, Any], host: Host) -> dict[str, Any]:
    """A config with all strategies and controls, at least three seeds, a retention task, and all analyses in full.

    Args:
        data: The config.
        host: The plugins; analyses that need counterfactuals are added only if the problem source offers them.
    """
    seeds = data.get("seeds", [0])
    if isinstance(seeds, list):
        unused = (seed for seed in range(len(seeds) + _SEEDS) if seed not in seeds)
        seeds = [*seeds, *islice(unused, max(0, _SEEDS - len(seeds)))]
    probe = data.get("probe", {})
    if isinstance(probe, dict):
        possible = [name for name in ALL_ANALYSES if name not in CONTRASTING or _contrasts(data, host)]
        analyses = with_missing(probe.get("analyses", []), possible)
        probe = {**probe, "analyses": with_control(analyses)}
    evaluation, controls = data.get("evaluation", {}), data.get("controls", {})
    if isinstance(evaluation, dict):
        evaluation = {**evaluation, "tasks": with_retention(evaluation.get("tasks", []))}
    if isinstance(controls, dict):
        controls = {**controls, "untrained": True, "fine_tuned": True}
    return {
        **data,
        "name": f"{data.get('name', 'experiment')}-full",
        "strategies": with_missing(data.get("strategies", []), ALL_STRATEGIES),
        "seeds": seeds,
        "controls": controls,
        "evaluation": evaluation,
        "probe": probe,
    }


def _contrasts(data: dict[str, Any], host: Host) -> bool:
    """Whether a config's problem source is known and offers counterfactuals."""
    problems = data.get("problems")
    source = problems.get("source") if isinstance(problems, dict) else None
    return source in host.unique_names("problem-sources") and offers_counterfactuals(host, source)


def with_retention(tasks: Any) -> Any:
    """A config's list of tasks, with a retention task if it has none; anything else is left to the checks."""
    if not isinstance(tasks, list):
        return tasks
    retained = any(isinstance(task, dict) and task.get("role") == "retention" for task in tasks)
    return tasks if retained else with_missing(tasks, ALL_TASKS)


def with_control(analyses: Any) -> Any:
    """A config's list of analyses, with enough random updates in `heads` for a test; the rest is left to the checks."""
    if not isinstance(analyses, list):
        return analyses
    return [_controlled(entry) if _name(entry) == "heads" else entry for entry in analyses]


def _controlled(heads: Any) -> Any:
    """The entry of `heads`, unless it states a number of random updates above 0."""
    options = heads.get("options", {}) if isinstance(heads, dict) else {}
    if not isinstance(options, dict) or options.get("control"):
        return heads
    stated = heads if isinstance(heads, dict) else {"name": heads}
    return {**stated, "options": {**options, "control": FEWEST_DRAWS}}


def with_missing(listed: Any, entries: Iterable[str | dict[str, Any]]) -> Any:
    """A config's list of names and tables, with the entries that it lacks; anything else is left to the checks."""
    if not isinstance(listed, list):
        return listed
    named = {_name(entry) for entry in listed}
    return [*listed, *(entry for entry in entries if _name(entry) not in named)]


def _name(entry: Any) -> Any:
    return entry.get("name") if isinstance(entry, dict) else entry


def read_config(path: Path | None) -> tuple[dict[str, Any], str, Path]:
    """Reads a config.

    Args:
        path: The TOML file, or `None` for the embedded experiment.

    Returns:
        The data, the config's name in messages, and its folder.

    Raises:
        UsageError: It cannot be read, is not TOML, or is empty.
    """
    file = path or EMBEDDED
    try:
        refuse_special(file)
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"Cannot read the config {file}: {error.strerror}.", "Create one with `kdprobe init`."
        ) from error
    except RecursionError as error:
        raise UsageError(f"The config {file} is nested too deeply.") from error
    except ValueError as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise UsageError(f"The config {file} is not valid TOML: {error}.") from error
    if not data:
        raise UsageError(f"The config {file} is empty.", "Create one with `kdprobe init`.")
    return data, str(file), file.parent


def experiment_of(data: dict[str, Any], host: Host, source: str, *, folder: Path) -> Experiment:
    """Checks a config that has already been read, and loads its folder of plugins.

    Args:
        data: The config.
        host: The plugins, to check names and options.
        source: The config's name in messages.
        folder: The folder that its folders of plugins and tasks are relative to.

    Raises:
        ConfigError: Lists all the errors.
    """
    if isinstance(plugins := data.get("plugins"), str):
        host.load_folder(folder / plugins)
    experiment = check(data, host, source)
    return experiment.model_copy(update={"evaluation": experiment.evaluation.within(folder)})


def check(data: dict[str, Any], host: Host, source: str) -> Experiment:
    """Checks a config that has already been read.

    Raises:
        ConfigError: Lists all the errors: in the config itself, in plugin names, in plugin options.
    """
    # First, so that no message quotes a secret.
    without_secrets(data)
    mistakes: list[str] = []
    experiment = None

    def known() -> Iterator[str]:
        return known_keys(data, host, Experiment)

    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        mistakes += sentences(error, known)
    mistakes += [
        *version_mistakes(data, host),
        *plugin_mistakes(data, host, known),
        *repeated(data),
        *texts_mistakes(data),
        *tuning_mistakes(data, host),
    ]
    # An impossible number is reported once, not again by its section.
    impossible = {key: f"{key}: {mistake}" for key, mistake in impossible_numbers(data)}
    mistakes = [*impossible.values(), *(line for line in mistakes if line.partition(": ")[0] not in impossible)]
    if mistakes or experiment is None:
        raise ConfigError(source, mistakes)
    return _with_display_names(experiment)


def _with_display_names(experiment: Experiment) -> Experiment:
    """The config with display names wherever it names a strategy or a strategy's students."""
    arms = {strategy.display_name: strategy.name for strategy in experiment.strategies}
    students = arms | {
        student_name(arm, seed, experiment.seeds): student_name(name, seed, experiment.seeds)
        for arm, name in arms.items()
        for seed in experiment.seeds
    }
    transfer, tune, probe = experiment.transfer, experiment.tune, experiment.probe
    texts = transfer.texts if transfer.texts in {OWN, GOLD} else resolved(transfer.texts, arms) or transfer.texts
    analyses = [
        analysis.model_copy(update={"options": _with_student_names(analysis.options, students)})
        for analysis in probe.analyses
    ]
    return experiment.model_copy(
        update={
            "transfer": transfer.model_copy(update={"texts": texts}),
            "tune": tune.model_copy(update={"strategy": tune.strategy and resolved(tune.strategy, arms)}),
            "probe": probe.model_copy(update={"analyses": analyses}),
        }
    )


def _with_student_names(options: dict[str, Any], students: Mapping[str, str]) -> dict[str, Any]:
    """Options of an analysis; an analysis of selected students has a list `students` in its options."""
    chosen = options.get("students")
    if not isinstance(chosen, list):
        return options
    return {
        **options,
        "students": [(resolved(name, students) or name) if isinstance(name, str) else name for name in chosen],
    }
