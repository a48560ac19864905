"""A teacher that reads its own prompt although TRL gives it the student's.

TRL's trainers use one prompt for both models. `PrimedTeacher` takes the place of the teacher: given the student's
prompt and answer, it reads the primed prompt followed by the same answer, and returns its hidden states at the
positions where TRL expects those of the answer. TRL itself is not changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from kdprobe import KdprobeError
from kdprobe.models import right_padded

Prompt = tuple[int, ...]


class PrimedTeacher(nn.Module):
    """A causal language model with the interface that `trl.DistillationTrainer` needs of a teacher.

    Args:
        model: The teacher, a Hugging Face causal language model.
        prompts: For each student prompt, the teacher's; both as token ids.
        pad: The padding token's id.

    Raises:
        KdprobeError: One student prompt is a prefix of another, so that answers cannot be distinguished from prompts.
    """

    def __init__(self, model: Any, prompts: Mapping[Prompt, Prompt], pad: int) -> None:
        super().__init__()
        for shorter, longer in pairwise(sorted(prompts)):
            if longer[: len(shorter)] == shorter:
                raise KdprobeError(
                    "The prompt of one problem is a prefix of another's, so it is unclear where answers begin.",
                    "Use a student with a chat template that marks the end of every prompt.",
                )
        self.config = model.config
        self.base_model = PrimedBackbone(model.base_model, prompts, pad)
        self.head = model.get_output_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The unembedding."""
        head: nn.Module = self.head
        return head


class PrimedBackbone(nn.Module):
    """The layers of a teacher; see the module's docstring."""

    def __init__(self, layers: nn.Module, prompts: Mapping[Prompt, Prompt], pad: int) -> None:
        super().__init__()
        self.layers, self.prompts, self.pad = layers, prompts, pad
        self.lengths = sorted({len(prompt) for prompt in prompts})

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_as_the_student: Any) -> BaseModelOutput:
        """Returns hidden states where the student's answer is predicted, and zeros elsewhere.

        Args:
            input_ids: The student's prompts and answers, `[batch, position]`, padded on either side.
            attention_mask: 1 at real tokens, `[batch, position]`.
            _as_the_student: Other arguments that TRL passes to both models, such as the number of logits to keep.

        Returns:
            `last_hidden_state` `[batch, position, width]`: at each student position that predicts an answer token, the
            state from which the teacher predicts it after the primed prompt.
        """
        positions = [mask.nonzero()[:, 0] for mask in attention_mask.bool()]
        read = [ids[own_positions].tolist() for ids, own_positions in zip(input_ids, positions, strict=True)]
        prompts = [self._prompt_of(tokens) for tokens in read]
        primed = [self.prompts[prompt] for prompt in prompts]
        ids, mask = right_padded(
            [[*own, *tokens[len(prompt) :]] for own, prompt, tokens in zip(primed, prompts, read, strict=True)],
            self.pad,
            input_ids.device,
        )
        states = self.layers(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        aligned = torch.zeros((*input_ids.shape, states.shape[-1]), dtype=states.dtype, device=states.device)
        for row, (own, prompt, own_positions) in enumerate(zip(primed, prompts, positions, strict=True)):
            # The last token of a prompt predicts the first token of the answer.
            predicting = own_positions[len(prompt) - 1 :]
            aligned[row, predicting] = states[row, len(own) - 1 : len(own) - 1 + len(predicting)]
        return BaseModelOutput(last_hidden_state=aligned)

    def _prompt_of(self, tokens: list[int]) -> Prompt:
        for length in self.lengths:
            if (prompt := tuple(tokens[:length])) in self.prompts:
                return prompt
        raise KdprobeError(
            "TRL gave the student a prompt that is not one of kdprobe's student conversations.",
            "TRL's rendering and kdprobe's differ for this tokenizer; use another distiller.",
        )
