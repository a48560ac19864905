"""Searching a distiller's options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kdprobe.api.given.configs import Config, config_text, experiment_from
from kdprobe.api.given.functions import Functions
from kdprobe.api.results.result import Result
from kdprobe.api.results.sections import Listed, Section, Tabled
from kdprobe.api.session import AnyPath, calling, open_store
from kdprobe.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.experiment.config import Experiment
    from kdprobe.experiment.tune.trials import Trial, Tuned

_SHOWN = ("number", "correct", "n", "accuracy", "interval_low", "interval_high", "log_p_gold_value", "failure")


@dataclass(frozen=True, eq=False, repr=False)
class TuneResult(Result):
    """A finished search.

    Attributes:
        details: The full search, as records.
        out: The config written with the best options, or `None`.
    """

    details: Tuned
    out: Path | None

    @property
    def trials(self) -> pd.DataFrame:
        """A table with a row per trial: its options, and its student's scores on the validation problems.

        Shares are from 0 to 1; `log_p_gold_value` is a mean over problems, in nats.
        """
        from kdprobe.api.results.frames import frame
        from kdprobe.experiment.tune.trials import Trial

        return frame(Trial, self.details.trials).drop(columns="records")

    @property
    def best(self) -> dict[str, Any]:
        """The options of the best trial, or the config's own if no trial beats them."""
        return self.details.best.options

    @property
    def improved(self) -> bool:
        """Whether a trial beat the config's own options."""
        return self.details.improved

    @property
    def verdict(self) -> list[str]:
        """What the results show, and what they do not."""
        return self.details.verdict()

    def _data(self) -> dict[str, Any]:
        """The output of `kdprobe tune --json`."""
        return {**tuning_data(self.details), "out": str(self.out) if self.out else None}

    def _sections(self) -> Iterator[Section]:
        yield Listed("Verdict", self.verdict)
        yield Listed("Best options", [f"{name} = {value}" for name, value in self.best.items()])
        yield Tabled(f"Trials of {self.details.study}", self.trials, _SHOWN)


def tune(
    config: Config,
    *,
    trials: int | None = None,
    by: Literal["log-p-gold-value", "accuracy"] | None = None,
    out: AnyPath | None = None,
    strategies: Functions = None,
    store: AnyPath | None = None,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    progress: bool = True,
) -> TuneResult:
    """Tunes the distiller's options on validation problems, as `kdprobe tune` does; test problems are not used.

    Args:
        config: A TOML file, its content as a dict, or `None` for the embedded experiment; its section `tune` says
            what is varied.
        trials: Total number of trials, including earlier ones; by default as the config says.
        by: What to optimise on the validation problems; by default as the config says.
        out: The file to write: the config with the best options.
        strategies: Functions to use as strategies, by name, as in `kdprobe.run`.
        store: The folder that holds stages and runs; the default is the value of `KDPROBE_STORE`, else `kdprobe-runs`.
        plugins_dir: A folder from which to load more plugins.
        no_plugins: Load only kdprobe's own plugins.
        progress: Whether to print progress and notes to stderr.

    Raises:
        UsageError: The config has errors, the file already exists, or several processes were launched.
        KdprobeError: As `kdprobe.run`; or every trial failed. Finished trials are kept.
    """
    from kdprobe.experiment.tune import search
    from kdprobe.experiment.tune.tuned_config import tuned_config
    from kdprobe.models import processes

    with calling(progress=progress) as call:
        if processes.count() > 1:
            raise UsageError("`kdprobe tune` works only in a single process.", "Start it without a launcher.")
        file = Path(out) if out else None
        # Checked before hours of work, not after.
        if file is not None and file.exists():
            raise UsageError(
                f"{file} already exists.",
                "Choose another file, or delete this one first; finished trials stay in the store.",
            )
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        experiment = _with(experiment_from(config, host, strategies=strategies), trials=trials, by=by)
        text = config_text(config)
        tuned = search.tune(search.prepare(experiment, host), open_store(store))
        if file is not None:
            file.write_text(tuned_config(text, tuned.best.options, tuned.remark()), encoding="utf-8")
        return TuneResult(tuned, file, warnings=tuple(call.warnings))


def tuning_data(tuned: Tuned) -> dict[str, Any]:
    """A finished search as plain data."""
    return {
        "study": tuned.study,
        "database": str(tuned.database),
        "strategy": tuned.strategy,
        "distiller": tuned.distiller,
        "by": tuned.by,
        "improved": tuned.improved,
        "best": _flat_trial(tuned.best),
        "current": _flat_trial(tuned.current),
        "gain": asdict(tuned.gain) if tuned.gain else None,
        "trials": [_flat_trial(trial) for trial in tuned.trials],
        "verdict": tuned.verdict(),
    }


def _flat_trial(trial: Trial) -> dict[str, Any]:
    return {key: value for key, value in asdict(trial).items() if key != "records"}


def _with(experiment: Experiment, **given: str | int | None) -> Experiment:
    """Overrides the config with the arguments.

    Raises:
        UsageError: An argument is not valid in the config.
    """
    from pydantic import ValidationError

    from kdprobe.experiment.section import sentences
    from kdprobe.experiment.tune.config import TuneConfig

    update = {name: value for name, value in given.items() if value is not None}
    try:
        tuning = TuneConfig.model_validate(experiment.tune.model_dump() | update)
    except ValidationError as error:
        raise UsageError(f"{'; '.join(sentences(error))}.") from error
    return experiment.model_copy(update={"tune": tuning})
