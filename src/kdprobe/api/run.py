"""Running an experiment, and reading a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdprobe.api.given.configs import Config, experiment_from
from kdprobe.api.given.executors import Runs, given_executor
from kdprobe.api.given.functions import Functions
from kdprobe.api.results.run import RunResult
from kdprobe.api.session import AnyPath, Call, calling, open_store
from kdprobe.errors import UsageError
from kdprobe.experiment.executors.executor import LOCAL
from kdprobe.models import processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdprobe.api.given.inputs import Options
    from kdprobe.experiment.config import Experiment
    from kdprobe.experiment.store import Store
    from kdprobe.host.registry import Host


def run(
    config: Config = None,
    *,
    full: bool = False,
    strategies: Functions = None,
    analyses: Functions = None,
    head_metrics: Functions = None,
    store: AnyPath | None = None,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    jobs: int | None = None,
    executor: str = LOCAL,
    options: Options | None = None,
    progress: bool = True,
) -> RunResult:
    """Runs an experiment, or resumes it, as `kdprobe run` does.

    Finished stages are kept in the store and never run twice. After an interruption or a change to the config, repeat
    the call.

    Args:
        config: A TOML file, its content as a dict, or `None` for the embedded experiment.
        full: Add the remaining strategies of the response-priming paper and both controls, train at least three seeds
            of each, run all of kdprobe's own analyses that apply, except `attention` and `shapley`, and evaluate the
            retention task `basics_kdprobe` unless the config has a retention task.
        strategies: Functions to use as strategies, by name. Each takes a `kdprobe.Problem` and returns a
            `kdprobe.PromptPair`, or the text that the teacher reads. The config can name them like any other strategy;
            those it does not name are added to its strategies.
        analyses: Functions to use as analyses, by name, as in `kdprobe.probe`. Those that the config does not name are
            added to its analyses.
        head_metrics: Functions to use as head metrics, by name, as in `kdprobe.probe`.
        store: The folder that holds stages and runs; the default is the value of `KDPROBE_STORE`, else `kdprobe-runs`.
        plugins_dir: A folder from which to load more plugins.
        no_plugins: Load only kdprobe's own plugins.
        jobs: How many stages may run at the same time. `local` runs one at a time by default, in this process, and
            several in worker processes. The numbers do not depend on it.
        executor: What runs the stages: `local`, or an executor from a plugin.
        options: Options of the executor: a dict that maps its name to its options.
        progress: Whether to print progress and notes to stderr.

    Raises:
        UsageError: The config has errors (all of which are listed), a function cannot be part of a key or is used with
            several jobs, there is no such executor, or there are several processes, which only the command line
            supports.
        KdprobeError: A model, a file or a plugin is missing, or a stage failed; finished stages are kept.
    """
    if processes.count() > 1:
        raise UsageError("`kdprobe.run` works only in a single process.", "Launch the command `kdprobe run` instead.")
    with calling(progress=progress) as call:
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        experiment = experiment_from(
            config, host, full=full, strategies=strategies, analyses=analyses, head_metrics=head_metrics
        )
        runs = Runs(given_executor(host, executor, options), jobs)
        result = _run(experiment, host, open_store(store), call, runs)
    assert result is not None  # noqa: S101 - a single process is the main one
    return result


def run_launched(
    config: Config = None,
    *,
    full: bool = False,
    store: AnyPath | None = None,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    jobs: int | None = None,
    executor: str = LOCAL,
    options: Options | None = None,
    only: str | None = None,
) -> RunResult | None:
    """What `kdprobe run` calls: `run` in any number of processes that were launched together.

    It takes only arguments that can be given on a command line, so no functions and no `progress`. With `only`, it runs
    a single stage, given by kind and name or by its key; the run is finished by another call without it.

    Returns:
        The run; `None` in all processes except the main one, and for a single stage.
    """
    with calling(progress=True) as call:
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        experiment = experiment_from(config, host, full=full)
        if processes.count() > 1 and (jobs or executor != LOCAL or only):
            raise UsageError(
                "Under a launcher, stages run one at a time, and all processes train each student together.",
                "Leave out --jobs, --executor and --only, or start `kdprobe run` without a launcher.",
            )
        if only is None:
            runs = Runs(given_executor(host, executor, options), jobs)
            return _run(experiment, host, open_store(store), call, runs)
        if jobs or executor != LOCAL:
            raise UsageError(
                "--only runs a single stage, in this process.", "Leave out --jobs and --executor, or --only."
            )
        from kdprobe.experiment.plan import make_plan
        from kdprobe.experiment.run import run_stage

        run_stage(make_plan(experiment, host), open_store(store), only)
        return None


def _run(experiment: Experiment, host: Host, store: Store, call: Call, runs: Runs) -> RunResult | None:
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.run import run

    store.prepare()
    plan = make_plan(experiment, host)
    name = run(plan, store, host.notify, executor=runs.executor, jobs=runs.jobs)
    if not processes.is_main():
        return None
    result = _read(name, store, host, call.warnings)
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
        run: Its name or a unique prefix of it; by default the newest run.
        store: The folder that holds stages and runs; the default is the value of `KDPROBE_STORE`, else `kdprobe-runs`.
        plugins_dir: A folder from which to load more plugins; their extractors are also compared.
        no_plugins: Load only kdprobe's own plugins.
        progress: Whether to print notes to stderr.

    Raises:
        UsageError: There is no such run, or it never finished.
        KdprobeError: A file of the run has changed since it was written.
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
