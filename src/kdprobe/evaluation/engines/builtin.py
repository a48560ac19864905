"""The built-in engine: transformers in this process, with rows that leave the batch when they end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.models.utils_hf import stop_sequences_criteria
from torch import Tensor
from transformers import LogitsProcessorList

from kdprobe.errors import KdprobeError
from kdprobe.evaluation.batch_size import plan_batches
from kdprobe.evaluation.draws import SeededRows
from kdprobe.evaluation.engines.engine import Decoded, Decoding, EngineStudent, Scored
from kdprobe.evaluation.shrinking_batch import FiniteLogits, ShrinkingBatch, StopTexts, can_shrink
from kdprobe.evaluation.tasks.batch_size import likelihood_batch
from kdprobe.models.batching import left_padded, right_padded
from kdprobe.models.forward.prefix import Prefix, logits_once, read_common_prefix
from kdprobe.models.lm_head import head_matrix, lm_head_replaced, log_probabilities
from kdprobe.models.load import LoadedModel
from kdprobe.models.outline.blueprint import context_length
from kdprobe.models.reference import Dtype
from kdprobe.models.turn import up_to_end
from kdprobe.teachers.teacher import Passage

if TYPE_CHECKING:
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.students.student import Student


class TransformersEngine:
    """Students with their adapters, on bases that are loaded once per process."""

    versions: Mapping[str, str] = {}

    def load(self, student: Student, *, dtype: Dtype, bases: SharedBases) -> TransformersStudent:
        """The student with its adapter, merged unless its base is quantised; raises like `SharedBases.student`."""
        return TransformersStudent(bases.student(student.base, student.adapter, dtype=dtype))

    def close(self) -> None:
        """Does nothing: the bases are shared with others."""


class TransformersStudent:
    """A loaded model as an `EngineStudent`.

    Args:
        loaded: The model, with its adapter if it has one.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self.tokenizer, self.record, self.model = loaded.tokenizer, loaded.record, loaded.model
        self.config = loaded.model.config
        self.context_length = context_length(self.config)

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a response."""
        return self._loaded.eos_ids

    def answers_at_once(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> int:
        """As many as fit into memory, up to where more gain nothing."""
        return plan_batches(self._loaded, prompts, new_tokens).size

    def passages_at_once(self, longest: int) -> int:
        """As many as fit into memory, up to where more gain nothing."""
        return likelihood_batch(self._loaded, longest)

    def decode(
        self, prompts: Sequence[list[int]], decoding: Decoding, on_tokens: Callable[[int], None]
    ) -> list[Decoded]:
        """Answers prompts in one batch; see `EngineStudent`.

        If rows cannot leave the batch and each must draw its own tokens, prompts are answered one at a time.
        """
        shrinks = can_shrink(self.model)
        if decoding.draws_by_row and not shrinks and len(prompts) > 1:
            # In the library's own loop, all rows draw from one generator.
            return [answer for prompt in prompts for answer in self.decode([prompt], decoding, on_tokens)]
        ids, mask = left_padded(prompts, self.tokenizer.pad_token_id, self._loaded.device)
        width = ids.shape[1]
        if decoding.settings.get("do_sample"):
            # One seed per batch, so that its answers do not depend on what was decoded before it.
            torch.manual_seed(_seed(decoding.seed, ids))
        lengths: list[int] | None = None
        try:
            if shrinks:
                batch = ShrinkingBatch(on_tokens, SeededRows(decoding.seed, prompts) if decoding.draws_by_row else None)
                sequences = self._shrinking(batch, ids, mask, decoding, read_common_prefix(self.model, prompts))
                lengths = batch.lengths
            else:
                sequences = self._whole(ids, mask, decoding)
        except torch.OutOfMemoryError as error:
            what, lower = f"{len(prompts)} answers in one batch do", "batch size"
            if len(prompts) == 1:
                what, lower = "An answer does", "token budget"
            raise KdprobeError(
                f"{what} not fit in the memory of {self._loaded.device}.",
                f"Lower the {lower}; finished answers are saved.",
            ) from error
        rows = [row[width:].tolist() for row in sequences]
        if lengths is not None:
            rows = [row[:length] for row, length in zip(rows, lengths, strict=True)]
        return [self._decoded(row, decoding) for row in rows]

    def score(self, passages: Sequence[Passage]) -> list[Scored]:
        """Reads passages in one batch, with the logits of a chunk of rows at a time; see `EngineStudent`.

        If the model's head is more than a matrix product, passages are read one at a time.
        """
        with torch.inference_mode():
            matrix = self._head
            if matrix is None:
                return [scored for passage in passages for scored in self._read([passage], None)]
            with lm_head_replaced(self.model):
                return self._read(passages, matrix)

    @cached_property
    def _head(self) -> Tensor | None:
        return head_matrix(self.model, len(self.tokenizer))

    def _read(self, passages: Sequence[Passage], matrix: Tensor | None) -> list[Scored]:
        whole = [[*passage.prompt, *passage.token_ids] for passage in passages]
        ids, mask = right_padded(whole, self.tokenizer.pad_token_id, self._loaded.device)
        # Row t - 1 predicts token t; rows before the end of the shortest prompt are not needed.
        first = min(len(passage.prompt) for passage in passages) - 1
        keep = torch.arange(first, ids.shape[1] - 1, device=self._loaded.device)
        rows = logits_once(self.model, ids, mask, keep)
        scored = []
        for row, passage in enumerate(passages):
            begin, end = len(passage.prompt), len(whole[row])
            log_p = log_probabilities(
                rows[row, begin - 1 - first : end - 1 - first],
                ids[row, begin:end],
                matrix,
                len(self.tokenizer),
                subject=f"the passage {passage.id!r}",
            )
            scored.append(Scored(log_p.tolist()))
        return scored

    def _shrinking(
        self, batch: ShrinkingBatch, ids: Tensor, mask: Tensor, decoding: Decoding, prefix: Prefix | None
    ) -> Tensor:
        settings = dict(decoding.settings)
        if not settings.get("do_sample"):
            settings = {
                name: value for name, value in settings.items() if name not in {"temperature", "top_p", "top_k"}
            }
        texts = list(decoding.stop_texts)
        sequences: Tensor = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_length=ids.shape[1] + decoding.max_new_tokens,
            stopping_criteria=[StopTexts(self.tokenizer, texts, ids.shape[1])] if texts else [],
            eos_token_id=sorted(decoding.end_ids),
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
            custom_generate=batch,
            past_key_values=None if prefix is None else prefix.begun((mask == 0).sum(dim=1)),
            **{"do_sample": False, **settings},
        )
        return sequences

    def _whole(self, ids: Tensor, mask: Tensor, decoding: Decoding) -> Tensor:
        """The library's own loop, called as lm-eval calls it, for models whose cache cannot lose rows."""
        settings: dict[str, Any] = {"temperature": 0.0, **decoding.settings}
        if settings["temperature"] == 0 and settings.get("do_sample") is None:
            settings["do_sample"] = False
        if settings.get("do_sample") is False and settings["temperature"] == 0:
            del settings["temperature"]
        rows, width = ids.shape
        ends = [self.tokenizer.decode(id_) for id_ in sorted(decoding.end_ids)]
        sequences: Tensor = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_length=width + decoding.max_new_tokens,
            stopping_criteria=stop_sequences_criteria(self.tokenizer, [*decoding.stop_texts, *ends], width, rows),
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
            logits_processor=LogitsProcessorList([FiniteLogits(width)]),
            **settings,
        )
        return sequences

    def _decoded(self, written: list[int], decoding: Decoding) -> Decoded:
        tokens, finished = up_to_end(written, decoding.end_ids)
        if finished:
            return Decoded(tokens, finished=True)
        text = self.tokenizer.decode(written)
        ended = len(written) < decoding.max_new_tokens or any(mark in text for mark in decoding.stop_texts)
        return Decoded(written, finished=ended)


def as_engine_student(student: LoadedModel | EngineStudent) -> EngineStudent:
    """The student itself, or the built-in engine's view of a loaded model."""
    return TransformersStudent(student) if isinstance(student, LoadedModel) else student


def _seed(seed: int, context: Tensor) -> int:
    digest = hashlib.sha256(repr((seed, context.tolist())).encode()).digest()
    return int.from_bytes(digest[:7])
