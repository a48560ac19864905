"""What observers receive about a finished stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kdprobe.experiment.stages.distill import DIVERGED, TRAINING
from kdprobe.experiment.stages.evaluate import RECORDS
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.stages.transfer import FIDELITY
from kdprobe.experiment.store import Store
from kdprobe.files import read_json
from kdprobe.host.stage import FinishedStage


def finished_stage(run: str, stage: Stage, store: Store, *, made: bool) -> FinishedStage:
    """Reads a finished stage from the store.

    Args:
        run: The run's name.
        stage: A stage in the store.
        store: The store.
        made: Whether this run produced it.
    """
    folder = store.folder(stage)
    return FinishedStage(
        run=run,
        kind=stage.kind,
        name=stage.name,
        key=stage.key,
        folder=folder,
        seconds=store.checks.manifest(folder)["seconds"],
        made=made,
        metrics=_metrics(stage.kind, folder),
    )


def _metrics(kind: str, folder: Path) -> dict[str, float]:
    match kind:
        case "transfer":
            return _numbers(read_json(folder / FIDELITY))
        case "distill":
            training = read_json(folder / TRAINING)
            last = training["history"][-1] if training["history"] else {}
            found = training.get(DIVERGED) or {}
            return _numbers(last) | _numbers(training) | {f"diverged_at_{key}": n for key, n in _numbers(found).items()}
        case "evaluate":
            if not (folder / RECORDS).is_file():
                # Either training diverged, as its own stage records, or the student overflowed during evaluation.
                return {}
            records = pq.read_table(folder / RECORDS, columns=["id", "correct", "cut_off", "log_p_gold_value"])
            return {"problems": float(len(records["id"].unique())), **_means(records.to_pylist())}
        case _:
            return {}


def _means(records: list[dict[str, Any]]) -> dict[str, float]:
    metrics = {"correct": "accuracy", "cut_off": "cut_off", "log_p_gold_value": "log_p_gold_value"}
    return {metric: sum(float(record[name]) for record in records) / len(records) for name, metric in metrics.items()}


def _numbers(data: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in data.items() if isinstance(value, int | float)}
