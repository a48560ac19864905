"""The `transformers` teacher: any Hugging Face causal language model, optionally with an adapter."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field

from kdprobe.console.bars import current
from kdprobe.models.conversation import Conversation, Messages
from kdprobe.models.devices.placement import PlacementOptions
from kdprobe.models.outline.device import concrete_dtype, default_device
from kdprobe.models.reference import Dtype, ModelRecord, Quantization, resolve
from kdprobe.teachers.teacher import Passage, Request, Response, Sampling, SparseRows

if TYPE_CHECKING:
    from kdprobe.models.load import LoadedModel


class TransformersOptions(PlacementOptions):
    """Options of the `transformers` teacher."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="Alias, folder, GGUF file or Hub id.")
    revision: str | None = Field(default=None, description="Commit on the Hub.")
    adapter: str | None = Field(default=None, description="Adapter: a folder, a Hub id, or kdprobe:NAME.")
    dtype: Dtype = Field(default="auto", description="Weights' data type; auto: float32 on a CPU, bfloat16 on a GPU.")
    quantization: Quantization | None = Field(
        default=None,
        description="Quantise the weights on load, with bitsandbytes: nf4 or int8.",
    )
    batch_size: int = Field(default=32, ge=1, description="Problems per batch.")


class TransformersTeacher:
    """Decodes in batches, longest prompts first, and captures the top k in the same pass."""

    def __init__(self, options: TransformersOptions) -> None:
        from kdprobe.models.adapters import resolve_adapter

        self.options = options
        record = resolve(options.model, options.revision, options.quantization)
        self.record: ModelRecord = replace(record, placement=options.placement)
        self.adapter = resolve_adapter(options.adapter) if options.adapter else None
        self._loaded: Any = None

    @property
    def provenance(self) -> dict[str, Any]:
        """Model, adapter, data type and batch size."""
        return {
            "teacher": "transformers",
            "model": self.record.as_key(),
            "adapter": self.adapter.digest if self.adapter else None,
            "dtype": concrete_dtype(self.options.dtype, default_device()),
            "batch_size": self.options.batch_size,
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

    @cached_property
    def _tokenizer(self) -> Any:
        from kdprobe.models.load import load_tokenizer

        return load_tokenizer(self.record)

    def rendered(self, messages: Messages) -> str:
        """The text that the teacher continues; raises the same errors as `prompt_text`."""
        from kdprobe.models.conversation import prompt_text

        return prompt_text(self._tokenizer, messages)

    @property
    def part_size(self) -> int:
        """The size of a batch."""
        return self.options.batch_size

    def respond(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Response]:
        """Answers every request, longest prompt first; the batches depend only on the requests."""
        from kdprobe.models.conversation import prompt_ids

        loaded = self.loaded()
        prompts = [(request, prompt_ids(loaded.tokenizer, request.messages)) for request in requests]
        prompts.sort(key=lambda pair: (-len(pair[1]), pair[0].id))
        size = self.options.batch_size
        batches = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        return (
            response
            for batch_index, batch in enumerate(batches)
            for response in self._answer(batch, sampling, batch_index)
        )

    def score(self, passages: Sequence[Passage], sampling: Sampling) -> Iterator[tuple[str, SparseRows]]:
        """Scores every passage, longest first, with one forward pass per batch."""
        from kdprobe.teachers.scoring import score_batch

        loaded = self.loaded()
        ordered = sorted(passages, key=lambda passage: (-len(passage.prompt) - len(passage.token_ids), passage.id))
        size = self.options.batch_size
        batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        return (scored for batch in batches for scored in score_batch(loaded, batch, sampling))

    def _answer(self, batch: list[tuple[Request, list[int]]], sampling: Sampling, batch_index: int) -> list[Response]:
        import torch
        from transformers import (
            GenerationConfig,
            LogitsProcessorList,
            TemperatureLogitsWarper,
            TopPLogitsWarper,
        )

        from kdprobe.models.batching import left_padded
        from kdprobe.models.forward.decoding import without_own_settings
        from kdprobe.models.forward.prefix import read_common_prefix
        from kdprobe.models.turn import up_to_end
        from kdprobe.teachers.top_k_capture import RealTokens, TopKCapture
        from kdprobe.teachers.written import written_response

        loaded = self.loaded()
        pad = loaded.tokenizer.pad_token_id
        ids, mask = left_padded([prompt for _, prompt in batch], pad, loaded.device)
        names = [request.id for request, _ in batch]
        vocabulary = len(loaded.tokenizer)
        bar = current()
        if bar:
            bar.begin(len(batch), sampling.max_new_tokens)
        capture = TopKCapture(
            sampling.top_logprobs,
            vocabulary,
            sampling.temperatures,
            loaded.eos_ids,
            names,
            on_step=bar.within if bar else None,
        )
        processors = LogitsProcessorList([capture, RealTokens(vocabulary)])
        if sampling.temperature > 0:
            processors.append(TemperatureLogitsWarper(sampling.temperature))
            processors.append(TopPLogitsWarper(sampling.top_p))
            # One seed per batch, so that its answers do not depend on what was decoded before it.
            torch.manual_seed(sampling.seed * 1_000_003 + batch_index)
        settings = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=sampling.temperature > 0,
            # Our own warpers come after the capture; the library's would come before it.
            **({"temperature": 1.0, "top_p": 1.0, "top_k": 0} if sampling.temperature > 0 else {}),
            eos_token_id=sorted(loaded.eos_ids),
            pad_token_id=pad,
        )
        # Penalties and defaults that a model ships for chat must not distort the captured distribution.
        with torch.inference_mode(), without_own_settings(loaded):
            prefix = read_common_prefix(loaded.model, [prompt for _, prompt in batch])
            sequences = loaded.model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=settings,
                logits_processor=processors,
                past_key_values=None if prefix is None else prefix.begun((mask == 0).sum(dim=1)),
            )
        capture.finish(sequences)
        written = [up_to_end(row, loaded.eos_ids) for row in sequences[:, ids.shape[1] :].tolist()]
        return [
            written_response(
                request.id,
                prompt,
                tokens,
                capture.rows(index, len(tokens)),
                finished=finished,
                tokenizer=loaded.tokenizer,
            )
            for index, ((request, prompt), (tokens, finished)) in enumerate(zip(batch, written, strict=True))
        ]

    def close(self) -> None:
        """Releases weights that are spread over devices, whose memory students need; others are kept for analyses."""
        if self.record.placement:
            self._loaded = None
            # accelerate's hooks make cycles.
            gc.collect()

    def loaded(self) -> LoadedModel:
        """The model with its adapter, merged unless its weights are quantised; loaded when first needed, and kept."""
        if self._loaded is None:
            from kdprobe.models.load import load
            from kdprobe.models.merging.merge import with_adapter

            loaded = load(self.record, dtype=self.options.dtype)
            self._loaded = with_adapter(loaded, self.adapter) if self.adapter else loaded
        model: LoadedModel = self._loaded
        return model
