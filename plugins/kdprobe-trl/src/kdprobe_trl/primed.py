"""A teacher that reads its own prompt where TRL gives it the student's.

TRL's trainers have one prompt for both models. `PrimedTeacher` is put where they take the teacher: given the student's
prompt and answer, it reads the primed prompt and the same answer, and gives its hidden states back at the places where
TRL looks for those of the answer. Nothing of TRL is changed.
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
    """A causal language model as far as `trl.DistillationTrainer` looks at its teacher.

    Args:
        model: The teacher, a Hugging Face causal language model.
        prompts: The student's prompt to the teacher's, both token ids.
        pad: The padding token's id.

    Raises:
        KdprobeError: One of the student's prompts begins another, so that answers could not be told from prompts.
    """

    def __init__(self, model: Any, prompts: Mapping[Prompt, Prompt], pad: int) -> None:
        super().__init__()
        for shorter, longer in pairwise(sorted(prompts)):
            if longer[: len(shorter)] == shorter:
                raise KdprobeError(
                    "The prompt of one problem is the beginning of another's, so answers could not be told "
                    "from prompts.",
                    "Use a student with a chat template, which ends every prompt.",
                )
        self.config = model.config
        self.base_model = PrimedBackbone(model.base_model, prompts, pad)
        self.head = model.get_output_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The output matrix."""
        head: nn.Module = self.head
        return head


class PrimedBackbone(nn.Module):
    """The layers of a teacher; see the module."""

    def __init__(self, layers: nn.Module, prompts: Mapping[Prompt, Prompt], pad: int) -> None:
        super().__init__()
        self.layers, self.prompts, self.pad = layers, prompts, pad
        self.lengths = sorted({len(prompt) for prompt in prompts})

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_as_the_student: Any) -> BaseModelOutput:
        """Hidden states where the student's answer is predicted, zero elsewhere.

        Args:
            input_ids: The student's prompts and answers, `[batch, position]`, padded anywhere.
            attention_mask: 1 at their tokens, `[batch, position]`.
            _as_the_student: What else TRL gives to both models; the number of logits to keep, for one.

        Returns:
            `last_hidden_state` `[batch, position, width]`: at the student's position that predicts a token of the
            answer, the state by which the teacher predicts it after the primed prompt.
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
            # The last token of a prompt predicts the first of the answer.
            predicting = own_positions[len(prompt) - 1 :]
            aligned[row, predicting] = states[row, len(own) - 1 : len(own) - 1 + len(predicting)]
        return BaseModelOutput(last_hidden_state=aligned)

    def _prompt_of(self, tokens: list[int]) -> Prompt:
        for length in self.lengths:
            if (prompt := tuple(tokens[:length])) in self.prompts:
                return prompt
        raise KdprobeError(
            "TRL put a prompt to the student that is none of kdprobe's student conversations.",
            "Its chat template and kdprobe's disagree on this tokenizer; use another distiller.",
        )
