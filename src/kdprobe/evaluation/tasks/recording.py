"""Records lm-eval's requests to a model, so that an interrupted task resumes without repeating any of them."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lm_eval.utils import hash_string
from torch import Tensor

from kdprobe.console import note, progress
from kdprobe.errors import NonFiniteError
from kdprobe.evaluation.checked_replies import CheckedReplies
from kdprobe.evaluation.engines.engine import EngineStudent
from kdprobe.evaluation.ledger import Ledger
from kdprobe.evaluation.student_lm import StudentLM
from kdprobe.models.thinking import split_thinking, with_opening
from kdprobe.text import safe_text

LIKELIHOOD, ROLLING, WRITING = "loglikelihood", "loglikelihood_rolling", "generate_until"


class RecordedRequests(CheckedReplies):
    """Mixin in front of one of lm-eval's model classes.

    Entries of the ledger are named after their requests; a request made several times has several entries. An
    entry has the `answer`, and, if known, `tokens`, `finished` and `truncated`: whether the beginning of the prompt was
    left out, because it did not fit into the context window.
    """

    def record_into(self, ledger: Ledger, label: str) -> None:
        """Sets the ledger for answers, and the label of the progress bar."""
        self.ledger, self._label = ledger, label
        self._waiting: dict[str, deque[str]] = {}
        self._unsaved: dict[str, dict[str, Any]] = {}
        self.cache_hook = self

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> list[tuple[float, bool]]:  # noqa: ARG002
        """As lm-eval's, but only for requests without a saved answer."""
        return [tuple(answer) for answer in self._recorded(LIKELIHOOD, requests)]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> list[float]:  # noqa: ARG002
        """As lm-eval's, but only for requests without a saved answer."""
        return self._recorded(ROLLING, requests)

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> list[str]:  # noqa: ARG002
        """As lm-eval's, but only for requests without a saved answer."""
        return self._recorded(WRITING, requests)

    def add_partial(self, method: str, arguments: Any, answer: Any) -> None:
        """Called by lm-eval's models with each answer, as soon as they have it."""
        names = self._waiting.get(_asked(method, arguments))
        if names:
            self._unsaved[names.popleft()] = self.entry(method, arguments, answer)

    def entry(self, method: str, arguments: Any, answer: Any) -> dict[str, Any]:
        """The ledger's entry for an answer."""
        if method == WRITING:
            # What a model thinks before it answers is never its answer.
            answer = split_thinking(with_opening(str(arguments[0]), safe_text(answer or ""))).answer
        elif not math.isfinite(answer[0] if method == LIKELIHOOD else answer):
            raise NonFiniteError("A log-likelihood is NaN or infinite.")
        return {"answer": answer}

    def save(self) -> None:
        """Saves the answers since the last call."""
        if self._unsaved:
            self.ledger.add(self._unsaved)
            self.bar.advance(len(self._unsaved), work=sum(entry.get("tokens") or 0 for entry in self._unsaved.values()))
            self._unsaved = {}

    def ask(self, method: str, requests: Sequence[Any]) -> list[Any]:
        """Has lm-eval's model answer requests."""
        answers: list[Any] = getattr(super(), method)(requests, disable_tqdm=True)
        return answers

    def _recorded(self, method: str, requests: Sequence[Any]) -> list[Any]:
        names = entry_names(method, [request.args for request in requests])
        missing = {name: request for name, request in zip(names, requests, strict=True) if name not in self.ledger}
        if missing and len(missing) < len(requests):
            answered = len(requests) - len(missing)
            note(f"{self._label}: resuming; {answered} of {len(requests)} answers already saved.")
        with progress(self._label, len(requests)) as self.bar:
            self.bar.skip(len(requests) - len(missing))
            if missing:
                self._waiting = defaultdict(deque)
                for name, request in missing.items():
                    self._waiting[_asked(method, request.args)].append(name)
                answers = self.ask(method, list(missing.values()))
                self.save()
                for (name, request), answer in zip(missing.items(), answers, strict=True):
                    # Some of lm-eval's models do not pass on every answer.
                    if name not in self.ledger:
                        self._unsaved[name] = self.entry(method, request.args, answer)
                self.save()
        return [self.ledger[name]["answer"] for name in names]


def entry_names(method: str, asked: Sequence[Sequence[Any]]) -> list[str]:
    """The ledger's names of requests, in order: a digest of the request, and how often it was made before."""
    before: Counter[str] = Counter()
    names = []
    for arguments in asked:
        name = _asked(method, arguments)
        names.append(f"{name} {before[name]}")
        before[name] += 1
    return names


def _asked(method: str, arguments: Sequence[Any]) -> str:
    """A digest of a request's arguments: texts, and the settings of generation, if any."""
    parts = [json.dumps(part, sort_keys=True) if isinstance(part, Mapping) else str(part) for part in arguments]
    return str(hash_string(json.dumps([method, *parts])))


class TaskModel(RecordedRequests, StudentLM):
    """A student that answers any of lm-eval's requests.

    Args:
        student: The student, as an engine loaded it.
        seed: The seed for sampling.
        largest: The largest batch to use; the batch also has to fit into free memory.
    """

    def __init__(self, student: EngineStudent, *, seed: int, largest: int | None) -> None:
        # As in lm-eval: the tokenizer adds its beginning-of-sequence token unless the text has one.
        super().__init__(student, seed=seed, add_bos_token=None)
        self._largest = largest
        self._long: set[str] = set()

    def entry(self, method: str, arguments: Any, answer: Any) -> dict[str, Any]:
        """Adds tokens, whether the answer ended by itself, and whether the prompt was cut."""
        entry = super().entry(method, arguments, answer)
        if method == WRITING:
            decoded = self.decoded.popleft()
            entry |= {"tokens": decoded["tokens"], "finished": decoded["finished"]}
        return entry | {"truncated": _asked(method, arguments) in self._long}

    def ask(self, method: str, requests: Sequence[Any]) -> list[Any]:
        """In batches that fit into memory; texts longer than the context window are read in windows, one at a time."""
        lengths = {_asked(method, request.args): self._length_of(method, request) for request in requests}
        room = {LIKELIHOOD: self.max_length + 1, ROLLING: math.inf, WRITING: self.max_length}[method]
        self._long = {name for name, length in lengths.items() if length > room}
        self.batch_size_per_gpu = self._batch(method, requests, max(lengths.values()))
        if method != ROLLING:
            return super().ask(method, requests)
        answers: list[Any] = []
        for start in range(0, len(requests), self.batch_size_per_gpu):
            answers += super().ask(method, requests[start : start + self.batch_size_per_gpu])
            self.save()
        return answers

    def before_batch(self, prompts: list[list[int]]) -> None:
        """Saves the previous batch."""
        del prompts
        self.save()

    def _model_call(self, *inputs: Any, **arguments: Any) -> Tensor:
        self.save()
        logits: Tensor = super()._model_call(*inputs, **arguments)
        if not bool(torch.isfinite(logits).all()):
            raise NonFiniteError("The model's logits contain NaN or infinity.")
        return logits

    def _length_of(self, method: str, request: Any) -> int:
        """Tokens of a request: what is read, and what is scored or may be written."""
        texts, settings = request.args, {}
        if method == WRITING:
            texts, settings = request.args[:1], request.args[1]
        read = sum(len(self.tok_encode(text)) for text in texts)
        return read + (settings.get("max_gen_toks") or self.max_gen_toks if method == WRITING else 0)

    def _batch(self, method: str, requests: Sequence[Any], longest: int) -> int:
        name = f"batch of {method}"
        if name not in self.ledger:
            if method == WRITING:
                prompts = self.encoded([request.args[0] for request in requests])
                budget = max(request.args[1].get("max_gen_toks") or self.max_gen_toks for request in requests)
                size = self.student.answers_at_once(prompts, budget)
            else:
                size = self.student.passages_at_once(min(longest, self.max_length))
            self.ledger.add({name: min(size, self._largest or size)})
        size = self.ledger[name]
        return int(size)
