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
    from kdprobe.experiment.foresight.estimates import Outlook
    from kdprobe.experiment.foresight.power import Power
    from kdprobe.experiment.plan import Plan


@dataclass(frozen=True, eq=False, repr=False)
class PlanResult(Result):
    """The plan of an experiment.

    Attributes:
        run: The name of the run.
        stage_rows: The stages, as dicts.
        outlook: What the missing stages will take together, estimated from similar finished stages.
        adapters: For each distiller, the modules that it trains adapters on.
        threads: Number of CPU threads in the stages' keys.
        older_stages: Number of stages in the store from an earlier version of kdprobe.
        details: The plan itself.
    """

    run: str
    stage_rows: list[dict[str, Any]]
    outlook: Outlook
    adapters: dict[str, str]
    threads: int
    older_stages: int
    details: Plan

    @property
    def stages(self) -> pd.DataFrame:
        """A table of stages.

        These are `kind`, `name`, `key`, `status` (`done`, `missing` or `damaged`), and for stages that would run,
        `estimated_seconds` and `estimated_bytes`, based on `estimated_from` similar finished stages.
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
        full: Add the remaining strategies of the response-priming paper, train at least three seeds of each, run all
            analyses, and evaluate the retention task `basics_kdprobe` unless the config has a retention task.
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
    from kdprobe.experiment.config import to_data
    from kdprobe.experiment.foresight.estimates import Estimates, outlook
    from kdprobe.experiment.integrity.upkeep import REMEMBERED
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.stages.distill import adapted_modules
    from kdprobe.files import digest
    from kdprobe.models.outline.device import thread_count
    from kdprobe.models.outline.memory import Memory, general_memory
    from kdprobe.models.outline.tokenizer_process import tokenizer_process

    with calling(progress=progress) as call:
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        experiment = experiment_from(
            config, host, full=full, strategies=strategies, analyses=analyses, head_metrics=head_metrics
        )
        opened = open_store(store)
        memory = Memory(opened.root / REMEMBERED, general_memory())
        with tokenizer_process() as process, foreseen_threads(experiment.threads, memory):
            asked = {"config": digest(to_data(experiment))}
            if not memory.knows("plan", asked) and not memory.general.is_empty:
                # There are probably new prompts to render, and nothing else imports transformers for a known model.
                process.start()
            planned = make_plan(experiment, host, memory, process)
            memory.recall("plan", asked, lambda: True)
            judged = Estimates(opened.manifests())
            rows: list[dict[str, Any]] = []
            expected = []
            for stage in planned.stages:
                status = opened.status(stage)
                estimate = judged.of(stage) if status != "done" else None
                expected += [estimate] if status != "done" else []
                rows.append(
                    {
                        "kind": stage.kind,
                        "name": stage.name,
                        "key": stage.key,
                        "status": status,
                        "estimated_seconds": estimate and estimate.seconds,
                        "estimated_bytes": estimate and round(estimate.size),
                        "estimated_from": estimate.basis if estimate else 0,
                    }
                )
            return PlanResult(
                run=planned.run,
                stage_rows=rows,
                outlook=outlook(expected),
                adapters=adapted_modules(planned.stages),
                threads=thread_count(),
                older_stages=opened.older_stages(),
                details=planned,
                warnings=tuple(call.warnings),
            )
