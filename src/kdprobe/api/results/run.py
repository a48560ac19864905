"""A finished run, with everything that can be read from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.compare import CompareResult
from kdprobe.api.results.analysed import Analysed, Tables
from kdprobe.api.results.compared.data import comparison_data
from kdprobe.api.results.sections import Listed, Section
from kdprobe.api.session import calling

if TYPE_CHECKING:
    from kdprobe.api.results.arm_tables import ArmTables
    from kdprobe.api.results.students import Students
    from kdprobe.comparison.result import Comparison
    from kdprobe.experiment.results import Results
    from kdprobe.experiment.store import Store


@dataclass(frozen=True, eq=False, repr=False)
class RunResult(CompareResult):
    """A finished run: the comparison of its arms, its answers, students and analyses.

    Attributes:
        results: The run's results, as records.
        store: The store with the run.
    """

    results: Results
    store: Store

    @property
    def name(self) -> str:
        """The run's name."""
        return self.results.run

    @property
    def cautions(self) -> list[str]:
        """What everyone who uses this run's students must know."""
        cautions: list[str] = self.results.record.get("cautions", [])
        return cautions

    @cached_property
    def students(self) -> Students:
        """The students by arm: `run.students["unprimed"].load()`.

        If a strategy has only one arm, the strategy's own name finds it.
        """
        from kdprobe.api.results.students import Students

        return Students(self.results, self.store)

    @property
    def answers(self) -> ArmTables:
        """Answers by arm: tables with a row per answer to a test problem; names find arms as in `students`.

        Columns: `response`, `correct`, `log_p_gold_value` in nats, and the others of `records.parquet`.
        """
        from kdprobe.api.results.arm_tables import ArmTables

        records = {arm.name: arm.records for arm in self.results.arms if not arm.absence}
        absent = {arm.name: arm.absence for arm in self.results.arms if arm.absence}
        return ArmTables(self.results, "answers", records, absent)

    @property
    def training(self) -> ArmTables:
        """Training by arm: tables with a row per optimiser step; names find arms as in `students`.

        Columns: `step`, `loss` and its parts in nats per response token, `learning_rate`, and `validation_loss` if it
        was measured.
        """
        from kdprobe.api.results.arm_tables import ArmTables

        steps = {arm.name: arm.training["history"] for arm in self.results.arms if arm.training}
        absent = {arm.name: "was not trained." for arm in self.results.arms if not arm.training}
        return ArmTables(self.results, "training steps", steps, absent)

    @property
    def fidelity(self) -> dict[str, dict[str, Any]]:
        """For each strategy, the quality of its transfer set as a dict, with the keys of `fidelity.json` and `kept`.

        `kept` is the number of answers that its students were trained on.
        """
        return self.results.fidelity

    @cached_property
    def analyses(self) -> Analysed:
        """The results of the run's analyses: `run.analyses.table("heads")`, `run.analyses.figures`."""
        return Analysed(
            tables={analysis.name: Tables(analysis.tables) for analysis in self.results.analyses},
            statements={analysis.name: analysis.statements for analysis in self.results.analyses},
            plotly_data={
                analysis.name: {figure["title"]: figure["plotly"] for figure in analysis.figures}
                for analysis in self.results.analyses
            },
        )

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of the report: `accuracy`, `loss`, and `tail`, the teacher's probability outside its top k.

        Each is a `plotly.graph_objects.Figure`. Figures of analyses are in `analyses.figures`.
        """
        import plotly.graph_objects as go

        from kdprobe.report.figures import accuracy_figure, loss_figure, retained_figure
        from kdprobe.report.templates import safe_names

        data = {
            "accuracy": accuracy_figure(self.comparison),
            "loss": loss_figure(self.results.arms),
            "tail": retained_figure(self.results.fidelity),
        }
        return {name: go.Figure(safe_names(figure)) for name, figure in data.items()}

    @property
    def page(self) -> Path:
        """The path of the run's page, whether or not it exists yet."""
        from kdprobe.report.page import PAGE

        return self.results.folder / PAGE

    def report(self) -> Path:
        """Rewrites the run's page, as `kdprobe report` does.

        Returns:
            The page: one HTML file that needs no network.

        Raises:
            KdprobeError: The page cannot be written.
        """
        from kdprobe.report.page import write_page

        with calling(progress=False):
            return write_page(self.results, self.comparison)

    def _answers(self) -> Mapping[str, Any]:
        from kdprobe.experiment.results import arms_of

        return {arm.name: arm.outputs for arm in arms_of(self.results) if not arm.absent}

    def _run(self) -> tuple[str, Path]:
        return self.name, self.store.root

    def _data(self) -> dict[str, Any]:
        """The output of `kdprobe run --json` and `kdprobe report --json`."""
        return run_data(self.results, self.comparison, self.page)

    def _sections(self) -> Iterator[Section]:
        yield Listed(f"Run {self.name}", self.cautions)
        yield from super()._sections()
        for name, sentences in self.analyses.statements.items():
            yield Listed(f"Inside the students ({name})", sentences)
        yield Listed("Tables", [f"{name}: {', '.join(tables)}" for name, tables in self.analyses.tables.items()])
        yield Listed("Report", [str(self.page)])


def run_data(results: Results, comparison: Comparison, page: Path) -> dict[str, Any]:
    """A run's results as plain data."""
    return {
        "run": results.run,
        "report": str(page),
        "cautions": results.record.get("cautions", []),
        "adapters": results.record.get("adapters", {}),
        **comparison_data(comparison),
        "fidelity": results.fidelity,
        "analyses": {analysis.name: {"statements": analysis.statements} for analysis in results.analyses},
        "seconds": results.record["seconds"],
    }
