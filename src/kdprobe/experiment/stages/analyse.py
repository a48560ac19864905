"""The stage in which an analysis examines the students."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdprobe.errors import KdprobeError, NonFiniteError, UsageError
from kdprobe.experiment.stages.absence import overflow_sentence, overflowed
from kdprobe.experiment.stages.context import StageContext, problems_key
from kdprobe.experiment.stages.distill import diverged, divergence_sentence, trained_student
from kdprobe.experiment.stages.environment import environment
from kdprobe.experiment.stages.evaluate import RECORDS
from kdprobe.experiment.stages.lessons import Lessons
from kdprobe.experiment.stages.plugin_key import plugin_key
from kdprobe.experiment.stages.stage import Stage, with_resources
from kdprobe.files import write_json
from kdprobe.probing.precision import refuse_reduced
from kdprobe.problems.counterfactuals import Counterfactuals, counterfactuals_of
from kdprobe.students.replicates import chosen
from kdprobe.students.student import Student

FORMAT = 6
FIGURES = "figures.json"
STATEMENTS = "statements.json"
TEACHING = "teaching"
"""What an analysis needs that reads what the teacher read and wrote."""
Arms = Sequence[tuple[Student, Stage | None, Stage]]
"""Student, training (`None` for the untrained student) and evaluation of every arm."""


def analyse_stages(context: StageContext, arms: Arms, lessons: Lessons) -> dict[str, Stage]:
    """The analyses of an experiment by name; arguments as for `analyse_stage`.

    Raises:
        UsageError: One of them needs float32, or an option names a student that there is not.
    """
    probe = context.experiment.probe
    # Checked here, not after hours of training.
    refuse_reduced(context.host, [analysis.name for analysis in probe.analyses], probe.dtype)
    return {
        analysis.name: analyse_stage(context, analysis.name, analysis.options, arms, lessons)
        for analysis in probe.analyses
    }


def before_training(analysis: Stage) -> bool:
    """Whether an analysis needs no student."""
    return all(needed.kind == "transfer" for needed in analysis.inputs)


@with_resources("analyse")
def analyse_stage(context: StageContext, name: str, options: dict[str, Any], arms: Arms, lessons: Lessons) -> Stage:
    """An analysis of all students, of what the teacher read and wrote, or of both.

    Args:
        context: The experiment.
        name: The name of the analysis.
        options: Its options.
        arms: All arms.
        lessons: The transfer sets.
    """
    config, host = context.experiment.probe, context.host
    validated = host.options("analyses", name, options)
    needs = host.build("analyses", name, validated).needs
    # Checked here, not after hours of training.
    chosen([student for student, _, _ in arms], getattr(validated, "students", ()), name)
    counterfactuals = _counterfactuals(context, name) if "counterfactuals" in needs else None
    taught, tested = TEACHING in needs, "problems" in needs
    # An analysis of the teacher alone needs no student, and one of both may read every problem that students answered.
    arms = () if needs == {TEACHING} else arms
    problems = context.problems.test if taught else context.problems.test[: config.problems]
    settings: dict[str, Any] = {
        "format": FORMAT,
        "analysis": plugin_key(host, "analyses", name),
        "options": validated.model_dump(mode="json") if validated else {},
        "environment": environment("torch", "transformers", "peft", "transformer-lens"),
        # They may depend on options that make no difference to the problems.
        **({"counterfactuals": context.experiment.problems.options} if counterfactuals else {}),
    }
    if arms:
        metrics = {metric: plugin_key(host, "head-metrics", metric) for metric in host.names("head-metrics")}
        settings |= {
            "head_metrics": metrics,
            "student": context.student.as_key(),
            "arms": [[student.name, student.arm, student.seed] for student, _, _ in arms],
            "problems": problems_key(context, problems),
            "prompts": context.test_prompts(problems),
            "batch_size": config.batch_size,
            **({"dtype": config.dtype} if config.dtype != "float32" else {}),
        }
    if taught:
        settings[TEACHING] = lessons.settings(tests=tested)
    transfers = tuple(lessons.transfers.values()) if taught else ()
    trained = {student.name: stage for student, stage, _ in arms if stage is not None}
    scored = {student.name: stage for student, _, stage in arms} if "scores" in needs else {}

    def work(folder: Path, inputs: list[Path], _scratch: Path) -> None:
        import pyarrow.parquet as pq

        from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, run_analysis
        from kdprobe.probing.metrics.metric import head_metrics_of
        from kdprobe.probing.tables import write_tables

        context.pool.close_opened()
        trainings = dict(zip(trained, inputs, strict=False))
        scores = dict(zip(scored, inputs[len(trained) :], strict=False))
        folders = inputs[len(trained) + len(scored) :]
        broken = {name: found for name, path in scores.items() if (found := overflowed(path))}
        spoilt = {name: found for name, path in trainings.items() if (found := diverged(path))}
        lost = {name: f"it {overflow_sentence(found)}" for name, found in broken.items()}
        lost |= {name: f"its training {divergence_sentence(found)}" for name, found in spoilt.items()}
        adapters = {name: path for name, path in trainings.items() if name not in lost}
        problem_ids = {problem.id for problem in problems}
        analysis_context = AnalysisContext(
            students=[
                trained_student(student, [adapters[student.name]] if student.name in adapters else [])
                for student, _, _ in arms
                if student.name not in lost
            ],
            problems=problems if arms else (),
            batch_size=config.batch_size,
            records={
                # Of several samples, the first stands for the problem.
                arm: [
                    row
                    for row in pq.read_table(path / RECORDS).to_pylist()
                    if row["id"] in problem_ids and not row.get("sample")
                ]
                for arm, path in scores.items()
                if arm not in lost
            },
            head_metrics=context.pool.once("head metrics", lambda: head_metrics_of(host)),
            pool=context.pool,
            teaching=lessons.teaching(folders, settings[TEACHING], tests=tested) if taught else None,
            counterfactuals=counterfactuals,
            dtype=config.dtype,
        )
        told = [f"{name} is excluded: {sentence}" for name, sentence in lost.items()]
        try:
            result = run_analysis(name, host.build("analyses", name, validated), analysis_context)
        except NonFiniteError as error:
            # A result like any other: the same students would overflow again.
            result, told = AnalysisResult({}), [*told, f"These students cannot be analysed: {error}"]
        except KdprobeError as error:
            if not lost:
                raise
            # The remaining students are too few, or not those the analysis was to examine.
            result, told = (
                AnalysisResult({}),
                [*told, f"The analysis was skipped, because it cannot run on the remaining students: {error.message}"],
            )
        write_tables(result.tables, folder)
        write_json(folder / FIGURES, [asdict(figure) for figure in result.figures])
        write_json(folder / STATEMENTS, [*told, *result.statements])

    needed = (*trained.values(), *scored.values(), *transfers)
    # The teacher reads every problem under every strategy, and students of the same strategy share that.
    read = problems if arms else context.problems.transfer
    units = len(read) * len(transfers if taught else arms)
    return Stage("analyse", name, settings, needed, work, max(1, units))


def _counterfactuals(context: StageContext, analysis: str) -> Counterfactuals:
    """The counterfactuals of the experiment's problem source.

    Raises:
        UsageError: It offers none.
    """
    source, host = context.experiment.problems, context.host
    found = counterfactuals_of(host, source.source, host.options("problem-sources", source.source, source.options))
    if found is None:
        raise UsageError(
            f"The analysis {analysis!r} needs counterfactuals, and the problem source {source.source!r} offers none.",
            "Remove the analysis, or use a source that offers them, such as gsm-symbolic.",
        )
    return found
