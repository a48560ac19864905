"""Running an experiment, and reading a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdprobe.api.given.configs import Config, Functions, experiment_from
from kdprobe.api.results.run import RunResult
from kdprobe.api.session import AnyPath, calling, open_store, threads
from kdprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdprobe.experiment.store import Store
    from kdprobe.host.registry import Host


def run(
    config: Config = None,
    *,
    full: bool = False,
    strategies: Functions = None,
    analyses: Functions = None,
    store: AnyPath | None = None,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    progress: bool = True,
) -> RunResult:
    """Runs an experiment, or resumes it, as `kdprobe run` does.

    Finished stages are kept in the store and never run twice. After an interruption or a change to the config, repeat
    the call.

    Args:
        config: A TOML file, its content as a dict, or `None` for the embedded experiment.
        full: Use all four of the paper's strategies.
        strategies: Strategies by name: functions of a problem that return a `PromptPair`, or the text that the teacher
            reads. A config can name them like any other; those that it does not name are added to its strategies. Their
            source, and that of the functions and modules they use, is part of the stages' keys.
        analyses: Functions by name, as in `kdprobe.probe`. Those that the config does not name are added.
        store: The folder of stages and runs; by default `KDPROBE_STORE` if that is set, else `kdprobe-runs`.
        plugins_dir: A folder of additional plugins to load.
        no_plugins: Load only kdprobe's own plugins.
        progress: Whether to print progress and notes to stderr.

    Raises:
        UsageError: The config has errors, all of which are listed; a function has no key; or several processes were
            launched, which only the command line supports.
        KdprobeError: A model, a file or a plugin is missing, or a stage failed. Finished stages are kept.
    """
    from kdprobe.models import processes

    if processes.count() > 1:
        raise UsageError("`kdprobe.run` works only in a single process.", "Launch the command `kdprobe run` instead.")
    result = run_launched(
        config,
        full=full,
        strategies=strategies,
        analyses=analyses,
        store=store,
        plugins_dir=plugins_dir,
        no_plugins=no_plugins,
        progress=progress,
    )
    assert result is not None  # noqa: S101 - a single process is the main one
    return result


def run_launched(
    config: Config = None,
    *,
    full: bool = False,
    strategies: Functions = None,
    analyses: Functions = None,
    store: AnyPath | None = None,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    progress: bool = True,
) -> RunResult | None:
    """Does the same for any number of processes launched together.

    Returns:
        The run; `None` in all processes except the main one.
    """
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.run import run
    from kdprobe.models.processes import is_main

    with calling(progress=progress) as call:
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        experiment = experiment_from(config, host, full=full, strategies=strategies, analyses=analyses)
        opened = open_store(store)
        opened.prepare()
        with threads(experiment.threads):
            name = run(make_plan(experiment, host), opened, host.notify)
        if not is_main():
            return None
        result = _read(name, opened, host, call.warnings)
        result.report()
        return result


def load_run(
    run: str | None = None,
    *,
    store: AnyPath | None = None,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    progress: bool = True,
) -> RunResult:
    """Reads a finished run, as `kdprobe report` does; `.report()` rewrites its page.

    Args:
        run: Its name, or a unique prefix of it; by default the newest run.
        store: The folder of stages and runs; by default `KDPROBE_STORE` if that is set, else `kdprobe-runs`.
        plugins_dir: A folder of additional plugins to load; their extractors are compared too.
        no_plugins: Load only kdprobe's own plugins.
        progress: Whether to print notes to stderr.

    Raises:
        UsageError: The run does not exist or never finished.
        KdprobeError: A file of the run was changed after it was written.
    """
    with calling(progress=progress) as call:
        opened = open_store(store)
        if run is None:
            runs = opened.runs()
            if not runs:
                raise UsageError(f"There is no finished run in {opened.root}.", "Start one with `kdprobe run`.")
            run = runs[0]
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        return _read(run, opened, host, call.warnings)


def _read(name: str, store: Store, host: Host, warnings: Sequence[str]) -> RunResult:
    from kdprobe.experiment.results import comparison_of, load_results

    results = load_results(store, name)
    compared = comparison_of(results, host.all("extractors"))
    return RunResult(compared, results, store, warnings=tuple(warnings))
