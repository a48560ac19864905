"""The teacher `vllm`: a model that vLLM runs on one or several GPUs, with its distribution at every token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from kdprobe import KdprobeError
from kdprobe.console import note
from kdprobe.models import (
    Conversation,
    Dtype,
    ModelRecord,
    concrete_dtype,
    declared_end_ids,
    default_device,
    load_tokenizer,
    model_folder,
    prompt_ids,
    prompt_text,
    resolve,
    resolve_adapter,
)
from kdprobe.teachers import PROMPT_TOO_LONG, Passage, Request, Response, Sampling, SparseRows, written_response
from kdprobe_vllm.lora import NO_LORA, LoraNeeds, teacher_needs
from kdprobe_vllm.options import VllmTeacherOptions
from kdprobe_vllm.running import CAPTURING, Running
from kdprobe_vllm.teacher_check import TeacherNumbers, refuse_other_numbers, teacher_numbers
from kdprobe_vllm.version import vllm_version
from kdprobe_vllm.writing import Wanted, write

_MOST = 2048
"""Largest number of log-probabilities to keep: each costs 8 bytes per token on the way here."""


class VllmTeacher:
    """A model that vLLM runs; see `kdprobe.teachers.ScoringTeacher`.

    Args:
        options: The options.

    Raises:
        UsageError: vLLM is not installed, or cannot take the adapter.
    """

    def __init__(self, options: VllmTeacherOptions) -> None:
        self.options = options
        self._version = vllm_version("teacher")
        self.record: ModelRecord = resolve(options.model, options.revision)
        self.adapter = resolve_adapter(options.adapter) if options.adapter else None
        self._needs: LoraNeeds = teacher_needs(self.adapter) if self.adapter else NO_LORA
        self._running: Running | None = None

    @property
    def provenance(self) -> dict[str, Any]:
        """Model, adapter, data type, vLLM's version, and how the model is run as far as that changes numbers."""
        unchecked = {} if self.options.check else {"check": False}
        return {
            "teacher": "vllm",
            "model": self.record.as_key(),
            "adapter": self.adapter.digest if self.adapter else None,
            "dtype": self._dtype,
            "max_model_len": self.options.max_model_len,
            "answers_at_once": self.options.answers_at_once,
            "tensor_parallel_size": self.options.tensor_parallel_size,
            "pipeline_parallel_size": self.options.pipeline_parallel_size,
            "vllm": self._version,
            **unchecked,
        }

    @property
    def caution(self) -> str:
        """That of the adapter."""
        return self.adapter.caution if self.adapter else ""

    @property
    def conversation(self) -> Conversation:
        """How messages become text, besides the chat template."""
        return self.record.conversation

    @conversation.setter
    def conversation(self, conversation: Conversation) -> None:
        self.record = replace(self.record, conversation=conversation)

    @property
    def part_size(self) -> int:
        """The number of answers at once."""
        return self.options.answers_at_once

    @property
    def max_logprobs(self) -> int:
        """The most that its engine is started for."""
        return _MOST

    def rendered(self, messages: Sequence[Any]) -> str:
        """The text that the teacher continues; raises the same errors as `prompt_text`."""
        return prompt_text(self._tokenizer, messages)

    def respond(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Response]:
        """Answers every request; a prompt that leaves no room for a whole answer has no answer.

        Raises:
            KdprobeError: vLLM fails, or its numbers are not the model's.
        """
        _refuse_too_many(sampling)
        running = self._started()
        prompts = {request.id: prompt_ids(self._tokenizer, request.messages) for request in requests}
        room = running.max_model_len - sampling.max_new_tokens
        return self._responses(prompts, room, sampling)

    def score(self, passages: Sequence[Passage], sampling: Sampling) -> Iterator[tuple[str, SparseRows]]:
        """Scores passages by having vLLM write them, so that their distributions are captured like those of answers.

        Raises:
            KdprobeError: vLLM fails, its numbers are not the model's, or a passage exceeds the context window.
        """
        _refuse_too_many(sampling)
        self._started()
        return self._scored(passages, sampling)

    def close(self) -> None:
        """Ends vLLM's processes; they start again when they are needed."""
        if self._running is not None:
            self._running.close()
            self._running = None

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.record)

    @cached_property
    def _end_ids(self) -> frozenset[int]:
        return declared_end_ids(self.record, self._tokenizer, self.adapter)

    @property
    def _dtype(self) -> Dtype:
        return concrete_dtype(self.options.dtype, default_device())

    @cached_property
    def _expected(self) -> TeacherNumbers | None:
        adapter = self.adapter.path if self.adapter else None
        return teacher_numbers(self.record, adapter, self._dtype) if self.options.check else None

    def _started(self) -> Running:
        """vLLM, started and checked when first needed and kept."""
        if self._running is None:
            # transformers comes first, because vLLM takes the memory.
            expected, folder = self._expected, model_folder(self.record)
            parallel = {"pipeline_parallel_size": self.options.pipeline_parallel_size}
            self._running = Running(
                folder,
                folder,
                dtype=self._dtype,
                needs=self._needs,
                options=self.options,
                capturing=CAPTURING | parallel,
            )
            try:
                refuse_other_numbers(self._numbers, self._tokenizer, expected, self._dtype, adapted=bool(self.adapter))
            except BaseException:
                self.close()
                raise
        return self._running

    def _numbers(self, ids: list[int], adapted: bool) -> list[float]:
        """Log-probability of each token but the first, by vLLM."""
        conversation, sampling = Wanted.given(ids[:1], ids[1:]), Sampling(len(ids), top_logprobs=1)
        ((_, rows),) = self._written([conversation], sampling, adapted=adapted)
        numbers: list[float] = rows.token_logprobs.tolist()
        return numbers

    def _responses(self, prompts: dict[str, list[int]], room: int, sampling: Sampling) -> Iterator[Response]:
        for id_, prompt in prompts.items():
            if len(prompt) > room:
                note(
                    f"The prompt of problem {id_} is too long: {len(prompt)} tokens plus {sampling.max_new_tokens} for "
                    f"the answer exceed the context window of {room + sampling.max_new_tokens}; this request has no "
                    "answer."
                )
                yield Response(id_, "", np.array([], dtype=np.int64), finished=False, finish_reason=PROMPT_TOO_LONG)
        fitting = {id_: prompt for id_, prompt in prompts.items() if len(prompt) <= room}
        shared = {
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p if sampling.temperature else 1.0,
            # These end an answer, and nothing else does.
            "ignore_eos": True,
            "stop_token_ids": sorted(self._end_ids),
        }
        wanted = [Wanted(prompt, {**shared, "seed": _seed(sampling.seed, id_)}) for id_, prompt in fitting.items()]
        answers = self._written(wanted, sampling)
        for (id_, prompt), (tokens, rows) in zip(fitting.items(), answers, strict=True):
            finished = tokens[-1] in self._end_ids
            yield written_response(id_, prompt, tokens, rows, finished=finished, tokenizer=self._tokenizer)

    def _scored(self, passages: Sequence[Passage], sampling: Sampling) -> Iterator[tuple[str, SparseRows]]:
        window = self._started().max_model_len
        for passage in passages:
            if len(passage.prompt) + len(passage.token_ids) > window:
                raise KdprobeError(
                    f"The passage {passage.id!r} has {len(passage.prompt) + len(passage.token_ids)} tokens with its "
                    f"prompt, more than the context window of {window}.",
                    "Raise max_model_len, if the model allows it.",
                )
        wanted = [Wanted.given(passage.prompt, passage.token_ids) for passage in passages]
        for passage, (_, rows) in zip(passages, self._written(wanted, sampling), strict=True):
            yield passage.id, rows

    def _written(
        self, wanted: Sequence[Wanted], sampling: Sampling, *, adapted: bool = True
    ) -> list[tuple[list[int], SparseRows]]:
        adapter = self.adapter.path if self.adapter and adapted else None
        return write(self._started(), wanted, sampling, vocabulary=len(self._tokenizer), adapter=adapter)


def _refuse_too_many(sampling: Sampling) -> None:
    if sampling.top_logprobs > _MOST:
        raise KdprobeError(
            f"The teacher 'vllm' keeps at most {_MOST} log-probabilities per token, not {sampling.top_logprobs}.",
            "Lower transfer.top_logprobs, or use the teacher 'transformers'.",
        )


def _seed(seed: int, request: str) -> int:
    """A seed for each request, so that its answer does not depend on what else is in the batch."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{request}".encode()).digest()[:7])
