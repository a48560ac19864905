"""Planning an experiment; nothing is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kdprobe.api.given.configs import Config, experiment_from
from kdprobe.api.given.functions import Functions
from kdprobe.api.results.result import Result
from kdprobe.api.results.sections import Listed, Section, Tabled
from kdprobe.api.session import AnyPath, calling, foreseen_threads, open_store

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.comparison.finding import Finding
    from kdprobe.experiment.config import Experiment
    from kdprobe.experiment.costs.bill import Bill
    from kdprobe.experiment.foresight.estimates import Outlook
    from kdprobe.experiment.foresight.power import Power
    from kdprobe.experiment.plan import Plan
    from kdprobe.experiment.store import Store
    from kdprobe.host.registry import Host
    from kdprobe.models.outline.helpers import Helpers
    from kdprobe.models.outline.memory import Memory


_PLAN = "plan"


@dataclass(frozen=True, eq=False, repr=False)
class PlanResult(Result):
    """The plan of an experiment.

    Attributes:
        run: The name of the run.
        stage_rows: The stages, as dicts.
        outlook: What the missing stages will take together.
        bill: What stages take on their devices, what does not fit, and what the estimates are based on.
        adapters: For each distiller, the modules that it trains adapters on.
        threads: Number of CPU threads in the stages' keys, unless `[resources]` has another for their kind.
        older_stages: Number of stages in the store from an earlier version of kdprobe.
        details: The plan itself.
    """

    run: str
    stage_rows: list[dict[str, Any]]
    outlook: Outlook
    bill: Bill
    adapters: dict[str, str]
    threads: int
    older_stages: int
    details: Plan

    @property
    def stages(self) -> pd.DataFrame:
        """A table of stages.

        These are `kind`, `name`, `key`, `status` (`done`, `missing` or `damaged`), and for stages that would run,
        `estimated_seconds` and `estimated_bytes`, based on `estimated_from` finished stages (0: on the shapes of the
        models), and `cost`: `devices`, `tokens_read`, `tokens_written`, `seconds`, `device_hours`, `memory` (bytes on
        each device), `disk` (bytes), `basis` and `based_on`; `None` where the shapes do not determine it.
        """
        import pandas as pd

        return pd.DataFrame(self.stage_rows)

    @property
    def prompts(self) -> dict[str, pd.DataFrame]:
        """What each strategy builds from the transfer problems: `plan.prompts["units"].loc[0, "teacher"]`.

        Strategy mapped to a table of `id`, `teacher` and `student`: the messages of the teacher and of the student,
        before the chat template.
        """
        import pandas as pd

        return {
            strategy: pd.DataFrame(
                [{"id": id_, "teacher": pair.teacher, "student": pair.student} for id_, pair in pairs.items()]
            )
            for strategy, pairs in self.details.conversations.items()
        }

    @property
    def cautions(self) -> tuple[str, ...]:
        """What everyone who uses this run's students must know."""
        return self.details.cautions

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What may make the run a waste of time, each with `code`, `evidence` and `action`."""
        return self.details.findings

    @property
    def power(self) -> Power | None:
        """The smallest differences that the planned problems and seeds could show; `None` if nothing is compared."""
        return self.details.power

    def _data(self) -> dict[str, Any]:
        """The output of `kdprobe plan --json`."""
        return {
            "run": self.run,
            "cautions": self.cautions,
            "adapters": self.adapters,
            "findings": [asdict(finding) for finding in self.findings],
            "power": asdict(self.power) if self.power else None,
            "retention": [asdict(task) for task in self.details.retention],
            "threads": self.threads,
            "stages": self.stage_rows,
            "outlook": asdict(self.outlook),
            "bill": self.bill.as_data(),
            "older_stages": self.older_stages,
        }

    def _sections(self) -> Iterator[Section]:
        yield Listed("Cautions", self.cautions)
        yield Listed("Findings", [str(finding) for finding in self.findings])
        yield Tabled(f"Run {self.run}", self.stages, ("kind", "name", "status"))


def plan(
    config: Config = None,
    *,
    full: bool = False,
    strategies: Functions = None,
    analyses: Functions = None,
    head_metrics: Functions = None,
    store: AnyPath | None = None,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    progress: bool = True,
) -> PlanResult:
    """Shows which stages of an experiment are done and which would run, as `kdprobe plan` does.

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
        progress: Whether to print notes to stderr.

    Raises:
        UsageError: The config has errors (all of which are listed), or a function cannot be part of a key.
        KdprobeError: A model, a file or a plugin is missing, or the run would fail later.
    """
    from kdprobe.models.outline.helpers import helpers
    from kdprobe.models.outline.memory import general_memory
    from kdprobe.models.outline.needed_weights import planning_without_weights

    with calling(progress=progress) as call, helpers() as processes, planning_without_weights():
        general = general_memory()
        if general and general.is_empty:
            # No model is known, whichever it is.
            processes.with_torch.start()
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        experiment = experiment_from(
            config, host, full=full, strategies=strategies, analyses=analyses, head_metrics=head_metrics
        )
        return _planned(experiment, host, open_store(store), general, processes, warnings=call.warnings)


def _planned(
    experiment: Experiment,
    host: Host,
    opened: Store,
    general: Memory | None,
    processes: Helpers,
    *,
    warnings: list[str],
) -> PlanResult:
    from kdprobe.experiment.costs.rows import planned_rows
    from kdprobe.experiment.integrity.upkeep import REMEMBERED
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.stages.distill import adapted_modules
    from kdprobe.models.outline.device import thread_count
    from kdprobe.models.outline.memory import Memory

    memory = Memory(opened.root / REMEMBERED, general)
    helping = _started(processes, experiment, memory)
    with foreseen_threads(memory, helping.with_torch if helping else None):
        planned = make_plan(experiment, host, memory, helping)
        memory.recall(_PLAN, _asked(experiment), lambda: True)
        with experiment.resources.of().planned():
            threads = thread_count()
        rows, expected, bill = planned_rows(planned, opened)
        return PlanResult(
            run=planned.run,
            stage_rows=rows,
            outlook=expected,
            bill=bill,
            adapters=adapted_modules(planned.stages),
            threads=threads,
            older_stages=opened.older_stages(),
            details=planned,
            warnings=tuple(warnings),
        )


def _started(processes: Helpers, experiment: Experiment, memory: Memory) -> Helpers | None:
    """The processes that help with a plan, those started that it will probably need; `None` if they would not help."""
    from kdprobe.models.load import needs_conversion
    from kdprobe.models.outline.blueprint import are_known
    from kdprobe.models.outline.fork import cores
    from kdprobe.models.outline.sizes import are_counted
    from kdprobe.models.reference import resolve

    if not memory.knows(_PLAN, _asked(experiment)):
        # There are probably new prompts to render.
        processes.without_torch.start()
    student = resolve(experiment.student.model, experiment.student.revision, experiment.student.quantization)
    if not (are_known(student, memory) and are_counted(student, memory)):
        # A conversion imports torch into this process, and with one core, it takes longer to import two things.
        if needs_conversion(student) or cores() == 1:
            processes.close()
            return None
        processes.with_torch.start()
    return processes


def _asked(experiment: Experiment) -> dict[str, str]:
    """What identifies a plan that was made before."""
    from kdprobe.experiment.config import to_data
    from kdprobe.files import digest

    return {"config": digest(to_data(experiment))}
