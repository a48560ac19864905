"""Scoring a student with lm-eval on exactly the experiment's problems.

lm-eval's own Hugging Face model runs; this one only watches: which token ids each prompt became, and which responses
were cut off. The prompts must be, token by token, the ones that students are trained on.
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
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from torch import Tensor

from kdprobe.console import Progress, progress
from kdprobe.errors import KdprobeError
from kdprobe.evaluation.protocol import COMPLETION_TASK, TASK, Protocol, task_folder
from kdprobe.models.conversation import prompt_ids
from kdprobe.models.load import LoadedModel, quiet
from kdprobe.problems.answers import extract
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import bare


def evaluate(
    student: LoadedModel, problems: Sequence[Problem], protocol: Protocol, *, label: str
) -> list[dict[str, Any]]:
    """Runs lm-eval on the problems.

    Args:
        student: The merged student.
        problems: What it is asked.
        protocol: How.
        label: How progress calls this student.

    Returns:
        One record per problem, in order: id, group, gold, response, value, rule, correct, cut_off, tokens, prompt_hash.

    Raises:
        KdprobeError: lm-eval's prompt is not the conversation that students are trained on.
    """
    chat = bool(student.tokenizer.chat_template)
    task = TASK if chat else COMPLETION_TASK
    with (
        tempfile.TemporaryDirectory() as folder,
        progress(label, len(problems), unit="tok") as bar,
        _hushed(),
    ):
        _write(problems, Path(folder))
        model = _WatchedModel(student, protocol.batch_size, bar)
        results = simple_evaluate(
            model=model,
            tasks=[task],
            task_manager=TaskManager(
                include_path=str(task_folder()), include_defaults=False, metadata={"folder": folder}
            ),
            apply_chat_template=chat,
            gen_kwargs=protocol.generation_arguments(),
            torch_random_seed=protocol.seed,
            bootstrap_iters=0,
            log_samples=True,
        )
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    return [_record(problem, sample, model, student) for problem, sample in zip(problems, samples, strict=True)]


class _WatchedModel(HFLM):  # type: ignore[misc]  # lm-eval is untyped
    """lm-eval's Hugging Face model, which also remembers what went in and whether it ended by itself."""

    def __init__(self, student: LoadedModel, batch_size: int, bar: Progress) -> None:
        # A chat template writes its own beginning-of-sequence token.
        own_bos = False if student.tokenizer.chat_template else None
        super().__init__(
            pretrained=student.model,
            tokenizer=student.tokenizer,
            batch_size=batch_size,
            add_bos_token=own_bos,
        )
        self._student, self._bar = student, bar
        self.responses: dict[tuple[int, ...], tuple[int, bool]] = {}

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> list[str]:  # noqa: ARG002
        """As lm-eval's, with our progress in place of its bar."""
        responses: list[str] = super().generate_until(requests, disable_tqdm=True)
        return responses

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **known: Any) -> Tensor:
        sequences: Tensor = super()._model_generate(context, max_length, stop, **known)
        width, budget = context.shape[1], max_length - context.shape[1]
        total = 0
        for row, mask in zip(sequences, known["attention_mask"], strict=True):
            prompt = tuple(row[:width][mask.bool()].tolist())
            tokens, finished = self._length(row[width:].tolist(), budget, stop)
            self.responses[prompt] = (tokens, finished)
            total += tokens
        self._bar.advance(len(sequences), work=total)
        return sequences

    def _length(self, written: list[int], budget: int, stop: list[str]) -> tuple[int, bool]:
        """Tokens written, end of turn included, and whether the response ended by itself."""
        for place, id_ in enumerate(written):
            if id_ in self._student.eos_ids:
                return place + 1, True
        text = self.tokenizer.decode(written)
        return len(written), len(written) < budget or any(mark in text for mark in stop)


def _record(problem: Problem, sample: dict[str, Any], model: _WatchedModel, student: LoadedModel) -> dict[str, Any]:
    trained_on = tuple(prompt_ids(student.tokenizer, bare(problem)))
    if trained_on not in model.responses:
        raise KdprobeError(
            f"lm-eval's prompt for problem {problem.id!r} is not the conversation that students are trained on.",
            "A score would measure the change of prompt; this is a fault of the task or of the chat template.",
        )
    tokens, finished = model.responses[trained_on]
    response = sample["resps"][0][0]
    extraction = extract(response)
    return {
        "id": problem.id,
        "group": problem.group,
        "gold": problem.value,
        "response": response,
        "value": None if extraction.value is None else str(extraction.value),
        "rule": extraction.rule,
        "correct": bool(sample["exact_match"]),
        "cut_off": not finished,
        "tokens": tokens,
        "prompt_hash": sample["prompt_hash"],
    }


def _write(problems: Sequence[Problem], folder: Path) -> None:
    """The problems as the task reads them. Its train part is for few-shot examples, of which there are none here."""
    rows = [json.dumps({"question": p.question, "answer": p.solution}, ensure_ascii=False) for p in problems]
    for part in ("train", "test"):
        (folder / f"{part}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


@contextmanager
def _hushed() -> Iterator[None]:
    """lm-eval says much on the log that is meant for its own command line."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "lm-eval")]
    levels = [logger.level for logger in loggers]
    find_commit = evaluator.get_git_commit_hash
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    # It asks git for the commit of whatever folder the user is in; outside a repository git complains on the screen.
    evaluator.get_git_commit_hash = lambda: None
    try:
        # Its bars go to stderr too, where ours are.
        with quiet(), torch.inference_mode(), redirect_stderr(io.StringIO()):
            yield
    finally:
        evaluator.get_git_commit_hash = find_commit
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
