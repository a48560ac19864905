"""Evaluates a model on one of lm-eval's tasks, and records every document."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lm_eval.evaluator import evaluate

from kdprobe.errors import KdprobeError, first_line
from kdprobe.evaluation.engines.builtin import as_engine_student
from kdprobe.evaluation.engines.engine import EngineStudent
from kdprobe.evaluation.ledger import Ledger
from kdprobe.evaluation.lm_eval_run import quiet_lm_eval
from kdprobe.evaluation.tasks.load import FEWSHOT_SEED, DrawnTask
from kdprobe.evaluation.tasks.metric import document_score
from kdprobe.evaluation.tasks.recording import LIKELIHOOD, ROLLING, WRITING, RecordedRequests, TaskModel, entry_names
from kdprobe.models.load import LoadedModel

_METHODS = {"multiple_choice": LIKELIHOOD, LIKELIHOOD: LIKELIHOOD, ROLLING: ROLLING, WRITING: WRITING}


def do_task(
    student: LoadedModel | EngineStudent,
    task: DrawnTask,
    *,
    label: str,
    ledger: Ledger | None = None,
    largest_batch: int | None = None,
) -> list[dict[str, Any]]:
    """Evaluates a student on a task.

    Args:
        student: The student, as an engine loaded it, or a loaded model for the built-in engine.
        task: The task.
        label: The label of the progress bar.
        ledger: The ledger in which answers are saved; answers already in it are not requested again.
        largest_batch: The largest batch to use, if it fits into memory.

    Returns:
        One record per document: see `document_records`.
    """
    runner = as_engine_student(student)
    with quiet_lm_eval():
        model = TaskModel(runner, seed=task.choice.seed, largest=largest_batch)
    chat = task.as_chat(has_template=bool(runner.tokenizer.chat_template))
    return run_task(model, task, chat=chat, label=label, ledger=Ledger(None) if ledger is None else ledger)


def run_task(
    model: RecordedRequests, task: DrawnTask, *, chat: bool, label: str, ledger: Ledger
) -> list[dict[str, Any]]:
    """Evaluates any of lm-eval's models on a task, with or without its chat template; the rest as in `do_task`."""
    model.record_into(ledger, label)
    # The seeds that lm-eval's own command sets, for tasks that draw anything themselves.
    random.seed(0)
    np.random.seed(FEWSHOT_SEED)  # noqa: NPY002 - what tasks use
    torch.manual_seed(FEWSHOT_SEED)
    for leaf in task.leaves.values():
        leaf.set_fewshot_seed(seed=FEWSHOT_SEED)
    try:
        with quiet_lm_eval():
            results = evaluate(
                lm=model,
                task_dict={"tasks": dict(task.leaves), "groups": {}},
                samples=dict(task.documents),
                apply_chat_template=chat,
                fewshot_as_multiturn=chat,
                bootstrap_iters=0,
                log_samples=True,
            )
    except AssertionError as error:
        # lm-eval checks prompts against the context window this way.
        raise KdprobeError(
            f"lm-eval cannot run the task {task.choice.name!r} with this model: {first_line(error)}"
        ) from error
    return document_records(task, results["samples"], ledger)


def document_records(
    task: DrawnTask, samples: Mapping[str, list[dict[str, Any]]], ledger: Ledger
) -> list[dict[str, Any]]:
    """One record per document, in the order of the tasks and their documents.

    Args:
        task: The task.
        samples: lm-eval's samples by task, a row per document and filter.
        ledger: What the model answered.

    Returns:
        Each has task, doc_id, doc_hash, prompt_hash, target_hash, target, responses, metrics (by filter), metric,
        score, weight, higher_is_better, cut_off (`None` if unknown) and truncated (`None` if unknown).
    """
    records = []
    asked: list[tuple[str, list[Any], dict[str, Any]]] = []
    for name, rows in samples.items():
        by_document: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            by_document.setdefault(row["doc_id"], []).append(row)
        for doc_id in task.documents[name]:
            document = by_document[doc_id]
            record = _record(name, document, document_score(task.leaves[name], document, task.choice))
            asked.append((_METHODS[task.leaves[name].OUTPUT_TYPE], document[0]["arguments"], record))
            records.append(record)
    for method in {method for method, _, _ in asked}:
        requests = [(arguments, record) for kind, several, record in asked if kind == method for arguments in several]
        for name, (_, record) in zip(entry_names(method, [a for a, _ in requests]), requests, strict=True):
            entry = ledger[name]
            if entry.get("finished") is not None:
                record["cut_off"] = bool(record["cut_off"]) or not entry["finished"]
            if entry.get("truncated") is not None:
                record["truncated"] = bool(record["truncated"]) or entry["truncated"]
    return records


def _record(name: str, document: list[dict[str, Any]], score: dict[str, Any]) -> dict[str, Any]:
    first = document[0]
    metrics = {row["filter"]: {metric: row[metric] for metric in row["metrics"]} for row in document}
    return {
        "task": name,
        "doc_id": first["doc_id"],
        "doc_hash": first["doc_hash"],
        "prompt_hash": first["prompt_hash"],
        "target_hash": first["target_hash"],
        "target": str(first["target"]),
        "responses": json.dumps(first["resps"], ensure_ascii=False),
        "metrics": json.dumps(metrics, default=str),
        **score,
        "cut_off": None,
        "truncated": None,
    }
