"""Evaluations that are made in parts, and a stage that joins them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from kdprobe.experiment.parts.divide import divided, part_seed
from kdprobe.experiment.stages.absence import ABSENT
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.evaluate import RECORDS, evaluate_stage
from kdprobe.experiment.stages.stage import Stage
from kdprobe.problems.problem import Problem
from kdprobe.students.student import Student


def evaluate_in_parts(context: StageContext, student: Student, distill: Stage | None) -> Stage:
    """The evaluation of a student, in as many parts as `evaluation.parts` says; arguments as for `evaluate_stage`."""
    whole = evaluate_stage(context, student, distill)
    parts = divided(context.problems.test, context.experiment.evaluation.parts)
    if len(parts) == 1:
        return whole
    stages = tuple(
        evaluate_stage(_part(context, problems, index, len(parts)), student, distill, part=(index, len(parts)))
        for index, problems in enumerate(parts)
    )

    def join(folder: Path, inputs: list[Path], _scratch: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # A student that has no records of some problems has none.
        absent = next((path / ABSENT for path in inputs if (path / ABSENT).is_file()), None)
        if absent:
            shutil.copyfile(absent, folder / ABSENT)
            return
        tables = [pq.read_table(path / RECORDS) for path in inputs]
        pq.write_table(pa.concat_tables(tables, promote_options="permissive"), folder / RECORDS)

    return replace(whole, settings=whole.settings | {"parts": len(parts)}, inputs=stages, work=join)


def _part(context: StageContext, problems: tuple[Problem, ...], index: int, count: int) -> StageContext:
    """The context of one part; sampled answers have a seed of their own in each."""
    evaluation = context.experiment.evaluation
    if evaluation.temperature:
        evaluation = evaluation.model_copy(update={"seed": part_seed(evaluation.seed, index, count)})
    experiment = context.experiment.model_copy(update={"evaluation": evaluation})
    return replace(context, experiment=experiment, problems=replace(context.problems, test=problems))
