"""The stage in which an analysis looks at the students."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdprobe.experiment.environment import environment
from kdprobe.experiment.evaluating import RECORDS
from kdprobe.experiment.identities import Identities
from kdprobe.experiment.store import Stage, write_json
from kdprobe.experiment.training import student_of
from kdprobe.probing.arms import chosen

FORMAT = 3
FIGURES = "figures.json"
FINDINGS = "findings.json"


def analyse_stage(
    of: Identities, name: str, options: dict[str, Any], arms: Sequence[tuple[str, Stage | None, Stage]]
) -> Stage:
    """An analysis looks at all students.

    Args:
        of: The experiment.
        name: The analysis.
        options: Its options.
        arms: Name, training (the untouched student has none) and evaluation of every arm.
    """
    config = of.experiment.probe
    validated = of.host.options("analyses", name, options)
    needs = of.host.build("analyses", name, validated).needs
    # Told here, and not after hours of training.
    chosen([arm for arm, _, _ in arms], getattr(validated, "students", ()), name)
    problems = of.drawn.test[: config.problems]
    settings = {
        "format": FORMAT,
        "analysis": name,
        "plugin": of.plugin("analyses", name),
        "options": validated.model_dump(mode="json") if validated else {},
        "head_metrics": {metric: of.plugin("head-metrics", metric) for metric in of.host.names("head-metrics")},
        "student": of.student.as_provenance(),
        "arms": [arm for arm, _, _ in arms],
        "problems": of.problems(problems),
        "batch_size": config.batch_size,
        "environment": environment("torch", "transformers", "peft", "transformer-lens"),
    }
    trained = {arm: stage for arm, stage, _ in arms if stage is not None}
    scored = {arm: stage for arm, _, stage in arms} if "scores" in needs else {}

    def work(folder: Path, inputs: list[Path], _scratch: Path) -> None:
        import pyarrow.parquet as pq

        from kdprobe.probing.analysis import AnalysisContext, run_analysis
        from kdprobe.probing.head_metric import head_metrics_of
        from kdprobe.probing.tables import write_tables

        adapters = dict(zip(trained, inputs, strict=False))
        scores = dict(zip(scored, inputs[len(trained) :], strict=True))
        asked = {problem.id for problem in problems}
        context = AnalysisContext(
            students=[student_of(of, arm, [adapters[arm]] if arm in adapters else []) for arm, _, _ in arms],
            problems=problems,
            batch_size=config.batch_size,
            records={
                arm: [row for row in pq.read_table(path / RECORDS).to_pylist() if row["id"] in asked]
                for arm, path in scores.items()
            },
            head_metrics=head_metrics_of(of.host),
        )
        result = run_analysis(name, of.host.build("analyses", name, validated), context)
        write_tables(result.tables, folder)
        write_json(folder / FIGURES, [asdict(figure) for figure in result.figures])
        write_json(folder / FINDINGS, list(result.findings))

    return Stage("analyse", name, settings, (*trained.values(), *scored.values()), work)
