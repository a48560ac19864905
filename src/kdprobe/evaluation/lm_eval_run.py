"""Evaluates a model with lm-eval on exactly the given problems.

lm-eval's own models run; ours only record each prompt's tokens, which responses were cut off, and earlier answers. For
students, the prompts must be, token for token, those that they were trained on.
"""

from __future__ import annotations

import io
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from lm_eval import evaluator, simple_evaluate
from lm_eval.tasks import TaskManager

from kdprobe.console import note, progress
from kdprobe.evaluation.draws import Draws, answer_name
from kdprobe.evaluation.engines.builtin import as_engine_student
from kdprobe.evaluation.engines.engine import EngineStudent
from kdprobe.evaluation.ledger import Ledger
from kdprobe.evaluation.lm_eval_conversation import NOTHING_TOLD, Told
from kdprobe.evaluation.prompt_check import PromptCheck
from kdprobe.evaluation.protocol import BARE, Protocol, task_folder, task_of
from kdprobe.evaluation.recording import PLAN, Recording, RecordingModel
from kdprobe.models.chatter import quiet
from kdprobe.models.conversation import prompt_form
from kdprobe.models.load import LoadedModel
from kdprobe.models.thinking import split_thinking
from kdprobe.problems.correctness import judge
from kdprobe.problems.problem import Problem


def evaluate(
    student: LoadedModel | EngineStudent,
    problems: Sequence[Problem],
    protocol: Protocol,
    *,
    label: str,
    ledger: Ledger | None = None,
    shots: Sequence[Problem] = (),
) -> list[dict[str, Any]]:
    """Has a student answer the problems.

    Args:
        student: The student: as an engine loaded it, or a model, merged with its adapter if it has one.
        problems: The problems.
        protocol: How to evaluate.
        label: The label of the progress bar.
        ledger: The ledger in which answers are saved; answers already in it are not requested again.
        shots: The problems from which a few-shot task takes its examples.

    Returns:
        One record per problem, in order; with several samples, one for each, the samples of a problem together. A
        record has id, sample (its number from 0, if there are several), group, gold, response, thinking,
        thinking_closed, thinking_tokens, value, rule, correct, cut_off, tokens, prompt_hash, prompt_form, and
        by_server: whether a server rendered the prompt from the messages that the form shows.

    Raises:
        KdprobeError: lm-eval's prompt differs from the conversation that students are trained on, or memory ran out.
    """
    runner = as_engine_student(student)
    chat = bool(runner.tokenizer.chat_template)
    task = task_of(protocol, chat=chat)
    ledger = Ledger(None) if ledger is None else ledger
    check = PromptCheck(runner.tokenizer, problems) if task == BARE[chat] else None
    with quiet_lm_eval():
        model = RecordingModel(runner, protocol, check)
    records = run_task(model, problems, protocol, task=task, label=label, ledger=ledger, shots=shots)
    if check is not None:
        # Answers of an earlier process were checked then, but each must still belong to its own problem.
        for problem, record in zip(protocol.each_sample(problems), records, strict=True):
            name = answer_name(record["prompt_hash"], record.get("sample", 0), protocol.samples)
            check.of_record(problem, ledger[name]["prompt"])
    return records


def run_task(
    model: Recording,
    problems: Sequence[Problem],
    protocol: Protocol,
    *,
    task: str,
    label: str,
    ledger: Ledger,
    shots: Sequence[Problem] = (),
    told: Told = NOTHING_TOLD,
) -> list[dict[str, Any]]:
    """Has any of lm-eval's models answer the problems; arguments and result as in `evaluate`.

    `told` has the conversation settings for a model whose server renders the prompts.
    """
    count = len(problems) * protocol.samples
    if answered := len(ledger) - (PLAN in ledger):
        note(f"{label}: resuming; {answered} of {count} answers already saved.")
    with tempfile.TemporaryDirectory() as folder, progress(label, count, unit="tok") as bar, quiet_lm_eval():
        _write(problems, Path(folder) / "test.jsonl")
        _write(shots or problems, Path(folder) / "train.jsonl")
        model.record_into(ledger, bar, Draws(protocol.seed, protocol.samples))
        manager = TaskManager(include_path=str(task_folder()), include_defaults=False, metadata={"folder": folder})
        asked = task
        if protocol.samples > 1:
            asked = manager.load([task])["tasks"][task]
            asked.set_config("repeats", protocol.samples)
        results = simple_evaluate(
            model=model,
            tasks=[asked],
            task_manager=manager,
            apply_chat_template=not task.endswith("completion"),
            fewshot_as_multiturn=not task.endswith("completion"),
            system_instruction=told.system,
            gen_kwargs={**protocol.generation_arguments(), **told.generation_arguments},
            torch_random_seed=protocol.seed,
            bootstrap_iters=0,
            log_samples=True,
        )
    if (repeats := results["configs"][task].get("repeats") or 1) > protocol.samples:
        note(f"{label}: the task repeats each problem {repeats} times; kdprobe asks once, unless --samples is set.")
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    return [
        {
            "id": problem.id,
            **({"sample": index} if protocol.samples > 1 else {}),
            **_record(problem, sample, ledger[answer_name(sample["prompt_hash"], index, protocol.samples)], model),
        }
        for problem, sample in zip(problems, samples, strict=True)
        for index in range(protocol.samples)
    ]


def _record(problem: Problem, sample: dict[str, Any], entry: dict[str, Any], model: Recording) -> dict[str, Any]:
    response, prompt = entry["response"], sample["arguments"][0][0]
    written = split_thinking(response)
    judged = judge(response, problem.value)
    extraction = judged.extraction
    return {
        "group": problem.group,
        "gold": problem.value,
        "response": written.answer,
        "thinking": written.thinking,
        "thinking_closed": written.closed,
        "thinking_tokens": model.thinking_tokens(written),
        "value": None if extraction.value is None else str(extraction.value),
        "rule": extraction.rule,
        "correct": judged.right,
        "cut_off": None if entry["finished"] is None else not entry["finished"],
        "tokens": entry["tokens"],
        "prompt_hash": sample["prompt_hash"],
        # If the server renders prompts itself, these are messages as JSON, wrapped by lm-eval.
        "prompt_form": prompt_form(str(getattr(prompt, "prompt", prompt)), problem.question),
        "by_server": not isinstance(prompt, str),
    }


def _write(problems: Sequence[Problem], file: Path) -> None:
    """Writes problems in the format that the task reads."""
    rows = [json.dumps({"question": p.question, "answer": p.solution}, ensure_ascii=False) for p in problems]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")


@contextmanager
def quiet_lm_eval() -> Iterator[None]:
    """Silences lm-eval, whose logs are meant for its own command line."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "lm-eval")]
    levels = [logger.level for logger in loggers]
    find_commit, add_environment = evaluator.get_git_commit_hash, evaluator.add_env_info
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    # It asks git for the commit of the current folder; outside a repository, git prints an error.
    evaluator.get_git_commit_hash = lambda: None
    # It spends seconds listing installed packages; kdprobe records versions itself.
    evaluator.add_env_info = lambda _results: None
    try:
        # Its progress bars go to stderr, as ours do.
        with quiet(), torch.inference_mode(), redirect_stderr(io.StringIO()):
            yield
    finally:
        evaluator.get_git_commit_hash, evaluator.add_env_info = find_commit, add_environment
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
