"""The layout of a kdprobe run in MLflow.

A kdprobe run is an MLflow run with the accuracy of every arm. Nested in it are a run for each arm (training and
evaluation), transfer set, selection and analysis. Reporting a stage again changes nothing.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterable

from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from kdprobe import FinishedStage

DATABASE = "sqlite:///mlflow.db"
"""In the working folder, where `mlflow ui` looks."""
RUN = "kdprobe.run"
_OF_ARMS = {"distill", "evaluate"}
_ACCURACY = "accuracy"
_MOST_METRICS = 1_000
"""Maximum number of metrics in one call (MLflow's limit)."""


def write(stage: FinishedStage) -> None:
    """Writes a stage's numbers, and for a training stage its history, unless they have been written."""
    client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", DATABASE))
    experiment = _experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME", "kdprobe"))
    run = _run(client, experiment, stage.run, {RUN: stage.run})
    name = stage.name if stage.kind in _OF_ARMS else f"{stage.kind} {stage.name}"
    below = _run(client, experiment, name, {RUN: stage.run, MLFLOW_PARENT_RUN_ID: run.info.run_id})
    key = f"kdprobe.{stage.kind}"
    if below.data.tags.get(key) == stage.key:
        return
    figures = {"seconds": stage.seconds, **stage.metrics}
    metrics = _metrics({f"{stage.kind}/{name}": value for name, value in figures.items()})
    if stage.kind == "distill":
        metrics += _history(stage)
    for start in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(below.info.run_id, metrics=metrics[start : start + _MOST_METRICS])
    if stage.kind == "evaluate" and _ACCURACY in stage.metrics:
        client.log_batch(run.info.run_id, metrics=_metrics({f"{_ACCURACY}/{stage.name}": stage.metrics[_ACCURACY]}))
    # Last, so that a partly reported stage is reported again.
    client.set_tag(below.info.run_id, key, stage.key)
    # kdprobe does not report the end of a run; a finished MLflow run accepts further numbers anyway.
    for open_run in (below, run):
        client.set_terminated(open_run.info.run_id)


def _experiment(client: MlflowClient, name: str) -> str:
    known = client.get_experiment_by_name(name)
    made: str = known.experiment_id if known else client.create_experiment(name)
    return made


def _run(client: MlflowClient, experiment: str, name: str, tags: dict[str, str]) -> Run:
    """Returns the MLflow run with this name and these tags, and creates it if necessary."""
    wanted = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
    for run in client.search_runs([experiment], filter_string=wanted):
        # Nested runs carry its tag too; its name, which ends in a digest, is unique.
        if run.info.run_name == name:
            return run
    return client.create_run(experiment, run_name=name, tags=tags)


def _history(stage: FinishedStage) -> list[Metric]:
    """A training run's history, by optimiser step; distillers of other plugins may write other columns, or none."""
    rows = json.loads((stage.folder / "training.json").read_text(encoding="utf-8")).get("history", [])
    return [
        metric
        for index, row in enumerate(rows, start=1)
        for metric in _metrics(
            {f"training/{name}": value for name, value in row.items() if name != "step"}, int(row.get("step", index))
        )
    ]


def _metrics(values: dict[str, float], step: int = 0) -> list[Metric]:
    now = int(time.time() * 1000)
    return [
        # MLflow allows only some characters in a metric's name.
        Metric(re.sub(r"[^\w./ -]", "_", name), float(value), now, step)
        for name, value in _finite(values.items())
    ]


def _finite(items: Iterable[tuple[str, float | None]]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in items if value is not None and math.isfinite(value)]
