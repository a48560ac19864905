"""Records lm-eval's models: answers are saved as they arrive, and saved answers are not requested again.

lm-eval's own response cache is never used, because its key omits the model, so that one model would get another's
answers. But all of lm-eval's models pass each answer to the cache, and that call is recorded.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import asdict
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI
from lm_eval.utils import hash_string
from torch import Tensor
from transformers import LogitsProcessorList

from kdprobe.console import Progress
from kdprobe.errors import KdprobeError
from kdprobe.evaluation.batch_size import plan_batches
from kdprobe.evaluation.ledger import Ledger
from kdprobe.evaluation.prompt_check import PromptCheck, prompt_digest
from kdprobe.evaluation.protocol import Protocol
from kdprobe.evaluation.served_answer import refuse_other_than_texts, with_thinking
from kdprobe.evaluation.shrinking_batch import FiniteLogits, ShrinkingBatch, StopTexts, can_shrink
from kdprobe.models.load import LoadedModel
from kdprobe.models.outline.blueprint import context_length
from kdprobe.models.outline.room import named, too_long
from kdprobe.models.thinking import Written, with_opening, written_text
from kdprobe.problems.correctness import judge
from kdprobe.problems.gold import gold_text
from kdprobe.text import safe_text

PLAN = "batch plan"
"""The ledger's entry for the batch size."""


class Recording:
    """Mixin in front of one of lm-eval's model classes; ledger entries are keyed by lm-eval's hash of the prompt.

    An entry has `response`, with thinking between marks, and, if known, `tokens`, `finished` and `prompt`, a digest of
    the prompt's token ids.
    """

    def record_into(self, ledger: Ledger, bar: Progress) -> None:
        """Sets the ledger for answers and the progress bar."""
        self.ledger, self.bar = ledger, bar
        self.cache_hook = self

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> list[str]:  # noqa: ARG002
        """As lm-eval's, but only for requests without a saved answer."""
        self._requests = {hash_string(request.args[0]): request for request in requests}
        self._judged = self._right = 0
        unanswered = {name: request for name, request in self._requests.items() if name not in self.ledger}
        self._count({name: self.ledger[name] for name in self._requests if name in self.ledger})
        self.bar.skip(self._judged)
        if unanswered:
            responses = super().generate_until(list(unanswered.values()), disable_tqdm=True)  # type: ignore[misc]
            for name, response in zip(unanswered, responses, strict=True):
                # lm-eval does not pass on empty answers of an API.
                if name not in self.ledger:
                    self.keep({name: _entry(unanswered[name].args[0], safe_text(response or ""))})
        return [self.ledger[hash_string(request.args[0])]["response"] for request in requests]

    def add_partial(self, _method: str, request: Any, response: str | None) -> None:
        """Called by lm-eval's models with each answer; the request is the prompt and the arguments."""
        self.keep({hash_string(request[0]): _entry(request[0], safe_text(response or ""))})

    def parse_generations(self, outputs: Any, **arguments: Any) -> list[str]:
        """As lm-eval's, but including thinking sent by chat servers, and without reading a malformed reply as empty.

        Raises:
            KdprobeError: A server's reply contains no completions.
        """
        parse = super().parse_generations  # type: ignore[misc]
        if isinstance(self, LocalChatCompletion):
            outputs = with_thinking(outputs)
        elif parse is LocalCompletionsAPI.parse_generations:
            refuse_other_than_texts(outputs)
        parsed: list[str] = parse(outputs, **arguments)
        return parsed

    def thinking_tokens(self, _written: Written) -> int | None:
        """Number of thinking tokens in an answer; unknown if the model is behind an API."""
        return None

    def keep(self, entries: dict[str, dict[str, Any]]) -> None:
        """Saves answers that were finished together, and shows progress."""
        self.ledger.add(entries)
        self._count(entries)
        self.bar.advance(len(entries), work=sum(entry["tokens"] or 0 for entry in entries.values()))

    def _count(self, entries: dict[str, dict[str, Any]]) -> None:
        for name, entry in entries.items():
            self._right += judge(entry["response"], gold_text(self._requests[name].doc["answer"])).right
        self._judged += len(entries)
        if self._judged:
            self.bar.remark = f"{self._right / self._judged:.1%} correct"


def _entry(prompt: Any, response: str | None) -> dict[str, Any]:
    return {
        "response": with_opening(str(prompt), response or ""),
        "tokens": None,
        "finished": None,
        "prompt": None,
    }


class RecordingModel(Recording, HFLM):  # type: ignore[misc]  # lm-eval is untyped
    """lm-eval's Hugging Face model, with rows that leave the batch when they end, and recorded lengths.

    Args:
        student: The model.
        protocol: How it decodes.
        check: The check of its prompts, if they are known.
    """

    def __init__(self, student: LoadedModel, protocol: Protocol, check: PromptCheck | None = None) -> None:
        # A chat template writes its own beginning-of-sequence token.
        add_bos_token = False if student.tokenizer.chat_template else None
        super().__init__(
            pretrained=student.model,
            tokenizer=student.tokenizer,
            add_bos_token=add_bos_token,
            max_length=context_length(student.model.config),
        )
        if protocol.max_new_tokens >= self.max_length:
            raise KdprobeError(
                f"{protocol.max_new_tokens} new tokens do not fit: the context window of {student.record.name!r} "
                f"is {self.max_length} tokens.",
                "Lower the token budget (max_new_tokens).",
            )
        self._student, self._protocol, self._check = student, protocol, check
        self._decoded: deque[dict[str, Any]] = deque()
        self._batch: dict[str, dict[str, Any]] = {}

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> list[str]:
        """As in `Recording`, in batches of the size that was chosen when the evaluation began."""
        prompts = {f"problem {request.doc_id + 1}": request.args[0] for request in requests}
        # lm-eval would truncate the beginning of such a prompt.
        if long := too_long(self.tokenizer, prompts, self.max_length - self._protocol.max_new_tokens):
            raise KdprobeError(
                f"The context window of {self._student.record.name!r} is {self.max_length} tokens, and {len(long)} of "
                f"{len(prompts)} prompts {'leaves' if len(long) == 1 else 'leave'} no room for "
                f"{self._protocol.max_new_tokens} new tokens: {named(long)}.",
                "Lower the token budget (max_new_tokens), or remove these problems.",
            )
        if PLAN not in self.ledger:
            self.ledger.add({PLAN: self._plan([request.args[0] for request in requests])})
        self.batch_size_per_gpu = self.ledger[PLAN]["size"]
        return super().generate_until(requests, disable_tqdm)

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
        """As lm-eval's, but keeps the special tokens that mark thinking."""
        if skip_special_tokens:
            return written_text(self.tokenizer, tokens)
        text: str = super().tok_decode(tokens, skip_special_tokens=False)
        return text

    def thinking_tokens(self, written: Written) -> int | None:
        """Number of thinking tokens in an answer."""
        return len(self.tok_encode(written.thinking, add_special_tokens=False)) if written.thinking else None

    def _plan(self, prompts: list[str]) -> dict[str, int]:
        if self._protocol.batch_size != "auto":
            return {"size": self._protocol.batch_size}
        ids = [self.tok_encode(prompt) for prompt in prompts]
        return asdict(plan_batches(self._student, ids, self._protocol.max_new_tokens))

    def add_partial(self, _method: str, request: Any, response: str | None) -> None:
        """Receives the answers of a batch, in the order of its rows; they are saved together once all have arrived."""
        self._batch[hash_string(request[0])] = _entry(request[0], response) | self._decoded.popleft()
        if not self._decoded:
            self.keep(self._batch)
            self._batch = {}

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **kwargs: Any) -> Tensor:
        if kwargs.get("do_sample"):
            # One seed per batch, so that its answers do not depend on what was decoded before it.
            torch.manual_seed(_seed(self._protocol.seed, context))
        width = context.shape[1]
        prompts = [row[mask.bool()].tolist() for row, mask in zip(context, kwargs["attention_mask"], strict=True)]
        if self._check is not None:
            self._check.before_batch(prompts)
        lengths: list[int] | None = None
        self.bar.begin(len(prompts), max_length - width)
        if can_shrink(self.model):
            batch = ShrinkingBatch(self.bar.within)
            sequences = self._shrinking(batch, context, max_length, stop, kwargs)
            lengths = batch.lengths
        else:
            checked = LogitsProcessorList([FiniteLogits(width)])
            sequences = super()._model_generate(context, max_length, stop, logits_processor=checked, **kwargs)
        for index, (row, prompt) in enumerate(zip(sequences, prompts, strict=True)):
            written = row[width:].tolist() if lengths is None else row[width : width + lengths[index]].tolist()
            tokens, finished = self._length(written, max_length - width, stop)
            self._decoded.append({"tokens": tokens, "finished": finished, "prompt": prompt_digest(prompt)})
        return sequences

    def _shrinking(
        self, batch: ShrinkingBatch, context: Tensor, max_length: int, stop: list[str], kwargs: dict[str, Any]
    ) -> Tensor:
        ends = sorted(self._student.eos_ids)
        # lm-eval adds the end of turn as a text, but the model has a token for it.
        texts = [text for text in stop if text not in {self.tokenizer.decode(id_) for id_ in ends}]
        if not kwargs.get("do_sample"):
            kwargs = {name: value for name, value in kwargs.items() if name not in {"temperature", "top_p", "top_k"}}
        sequences: Tensor = self.model.generate(
            input_ids=context,
            max_length=max_length,
            stopping_criteria=[StopTexts(self.tokenizer, texts, context.shape[1])] if texts else [],
            eos_token_id=ends,
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
            custom_generate=batch,
            **{"do_sample": False, **kwargs},
        )
        return sequences

    def _length(self, written: list[int], budget: int, stop: list[str]) -> tuple[int, bool]:
        """The number of tokens, including the end of turn, and whether the response ended by itself."""
        for position, id_ in enumerate(written):
            if id_ in self._student.eos_ids:
                return position + 1, True
        text = self.tokenizer.decode(written)
        return len(written), len(written) < budget or any(mark in text for mark in stop)


def _seed(seed: int, context: Tensor) -> int:
    digest = hashlib.sha256(repr((seed, context.tolist())).encode()).digest()
    return int.from_bytes(digest[:7])
