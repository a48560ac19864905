"""lm-eval's Hugging Face model with rows that leave the batch when they end, and recorded lengths."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import LogitsProcessorList

from kdprobe.console import Progress
from kdprobe.evaluation.draws import SEED, SeededRows
from kdprobe.evaluation.prompt_check import prompt_digest
from kdprobe.evaluation.shrinking_batch import FiniteLogits, ShrinkingBatch, StopTexts, can_shrink
from kdprobe.models.load import LoadedModel
from kdprobe.models.outline.blueprint import context_length
from kdprobe.models.thinking import written_text


class StudentLM(HFLM):  # type: ignore[misc]  # lm-eval is untyped
    """A loaded model for lm-eval.

    Subclasses set `bar`, the progress bar, before they decode.

    Args:
        student: The model.
        seed: The seed for sampling.
        add_bos_token: As lm-eval's; `None` leaves the choice to the tokenizer.

    Attributes:
        decoded: For each row decoded and not yet collected, its `tokens`, whether it `finished`, and a digest of its
            `prompt`.
    """

    bar: Progress

    def __init__(self, student: LoadedModel, *, seed: int, add_bos_token: bool | None, **arguments: Any) -> None:
        super().__init__(
            pretrained=student.model,
            tokenizer=student.tokenizer,
            add_bos_token=add_bos_token,
            max_length=context_length(student.model.config),
            **arguments,
        )
        self.student, self._seed = student, seed
        self.decoded: deque[dict[str, Any]] = deque()

    def before_batch(self, prompts: list[list[int]]) -> None:
        """Called with the token ids of the prompts of each batch, before it is decoded."""

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
        """As lm-eval's, but keeps the special tokens that mark thinking."""
        if skip_special_tokens:
            return written_text(self.tokenizer, tokens)
        text: str = super().tok_decode(tokens, skip_special_tokens=False)
        return text

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **kwargs: Any) -> Tensor:
        sample = kwargs.pop(SEED, None)
        if kwargs.get("do_sample"):
            # One seed per batch, so that its answers do not depend on what was decoded before it.
            torch.manual_seed(_seed(self._seed if sample is None else sample, context))
        width = context.shape[1]
        prompts = [row[mask.bool()].tolist() for row, mask in zip(context, kwargs["attention_mask"], strict=True)]
        self.before_batch(prompts)
        lengths: list[int] | None = None
        self.bar.begin(len(prompts), max_length - width)
        if can_shrink(self.model):
            batch = ShrinkingBatch(self.bar.within, None if sample is None else SeededRows(sample, prompts))
            sequences = self._shrinking(batch, context, max_length, stop, kwargs)
            lengths = batch.lengths
        else:
            checked = LogitsProcessorList([FiniteLogits(width)])
            sequences = super()._model_generate(context, max_length, stop, logits_processor=checked, **kwargs)
        for index, (row, prompt) in enumerate(zip(sequences, prompts, strict=True)):
            written = row[width:].tolist() if lengths is None else row[width : width + lengths[index]].tolist()
            tokens, finished = self._length(written, max_length - width, stop)
            self.decoded.append({"tokens": tokens, "finished": finished, "prompt": prompt_digest(prompt)})
        return sequences

    def _shrinking(
        self, batch: ShrinkingBatch, context: Tensor, max_length: int, stop: list[str], kwargs: dict[str, Any]
    ) -> Tensor:
        ends = sorted(self.student.eos_ids)
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
            if id_ in self.student.eos_ids:
                return position + 1, True
        text = self.tokenizer.decode(written)
        return len(written), len(written) < budget or any(mark in text for mark in stop)


def _seed(seed: int, context: Tensor) -> int:
    digest = hashlib.sha256(repr((seed, context.tolist())).encode()).digest()
    return int.from_bytes(digest[:7])
