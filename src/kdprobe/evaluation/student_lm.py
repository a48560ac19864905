"""lm-eval's Hugging Face model on top of an engine: lm-eval's prompts and batches, the engine's tokens, recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from kdprobe.console import Progress
from kdprobe.errors import KdprobeError
from kdprobe.evaluation.draws import SEED
from kdprobe.evaluation.engines.engine import Decoding, EngineStudent
from kdprobe.evaluation.engines.scores import scores
from kdprobe.evaluation.prompt_check import prompt_digest
from kdprobe.models.devices.spread import input_device
from kdprobe.models.thinking import written_text
from kdprobe.teachers.teacher import Passage


class StudentLM(HFLM):  # type: ignore[misc]  # lm-eval is untyped
    """A student for lm-eval.

    Subclasses set `bar`, the progress bar, before they decode.

    Args:
        student: The student, as an engine loaded it.
        seed: The seed for sampling.
        add_bos_token: As lm-eval's; `None` leaves the choice to the tokenizer.

    Attributes:
        decoded: For each row decoded and not yet collected, its `tokens`, whether it `finished`, and a digest of its
            `prompt`.
    """

    bar: Progress

    def __init__(self, student: EngineStudent, *, seed: int, add_bos_token: bool | None, **arguments: Any) -> None:
        # If the model is not in this process, lm-eval still reads its configuration.
        model = student.model
        if model is None:
            model = SimpleNamespace(config=student.config, device=torch.device("cpu"))
        super().__init__(
            pretrained=model,
            tokenizer=student.tokenizer,
            add_bos_token=add_bos_token,
            max_length=student.context_length,
            **arguments,
        )
        if student.model is not None:
            # lm-eval would look at the first weight, which may be offloaded.
            self._device = input_device(student.model)
        self.student, self._seed = student, seed
        self.decoded: deque[dict[str, Any]] = deque()

    def before_batch(self, prompts: list[list[int]]) -> None:
        """Called with the token ids of the prompts of each batch, before it is decoded or scored by the engine."""

    def encoded(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts; a text that is repeated, as for several samples, is tokenised once."""
        ids = {text: self.tok_encode(text) for text in dict.fromkeys(texts)}
        return [ids[text] for text in texts]

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
        """As lm-eval's, but keeps the special tokens that mark thinking."""
        if skip_special_tokens:
            return written_text(self.tokenizer, tokens)
        text: str = super().tok_decode(tokens, skip_special_tokens=False)
        return text

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **kwargs: Any) -> Tensor:
        sample = kwargs.pop(SEED, None)
        mask, width = kwargs.pop("attention_mask"), context.shape[1]
        prompts = [row[kept.bool()].tolist() for row, kept in zip(context, mask, strict=True)]
        self.before_batch(prompts)
        self.bar.begin(len(prompts), max_length - width)
        # lm-eval adds the end of turn as a text, but the model has a token for it.
        ends = {self.tokenizer.decode(id_) for id_ in self.student.end_ids}
        answers = self.student.decode(
            prompts,
            Decoding(
                max_new_tokens=max_length - width,
                end_ids=self.student.end_ids,
                stop_texts=tuple(text for text in stop if text not in ends),
                settings=kwargs,
                seed=self._seed if sample is None else sample,
                draws_by_row=sample is not None,
            ),
            self.bar.within,
        )
        longest = max(len(answer.token_ids) for answer in answers)
        written = context.new_full((len(answers), longest), self.tokenizer.pad_token_id)
        for row, (answer, prompt) in enumerate(zip(answers, prompts, strict=True)):
            written[row, : len(answer.token_ids)] = context.new_tensor(answer.token_ids)
            # lm-eval cuts the text where it finds a stop text, even in an answer that went on.
            finished = answer.finished or any(mark in self.tokenizer.decode(answer.token_ids) for mark in stop)
            entry = {"tokens": len(answer.token_ids), "finished": finished, "prompt": prompt_digest(prompt)}
            self.decoded.append(entry)
        return torch.cat([context, written], dim=1)

    def _loglikelihood_tokens(
        self, requests: Sequence[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """As lm-eval's; if the model is not in this process, the engine scores the continuations.

        Raises:
            KdprobeError: A continuation is empty, or longer than the context window.
        """
        for _, _, continuation in requests:
            self._refuse_unscorable(continuation)
        if self.student.model is not None:
            own: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
            return own
        answers: list[tuple[float, bool]] = []
        step = override_bs or self.batch_size_per_gpu
        for start in range(0, len(requests), step):
            batch = requests[start : start + step]
            passages = []
            for index, (_, context, continuation) in enumerate(batch):
                # What lm-eval's model reads, and the last token, which it only predicts.
                whole = [*context, *continuation][-self.max_length - 1 :]
                begin = len(whole) - len(continuation)
                passages.append(Passage(str(start + index), whole[:begin], whole[begin:]))
            self.before_batch([])
            for (texts, _, _), scored in zip(batch, scores(self.student, passages), strict=True):
                answers.append((sum(scored.log_p), bool(scored.greedy)))
                if texts is not None:
                    self.cache_hook.add_partial("loglikelihood", texts, answers[-1])
        return answers

    def _refuse_unscorable(self, continuation: Sequence[int]) -> None:
        if not continuation:
            raise KdprobeError(
                "The task asks for the likelihood of an empty text, such as an empty choice.", "Correct the task."
            )
        if len(continuation) > self.max_length:
            raise KdprobeError(
                f"The context window of {self.student.record.name!r} is {self.max_length} tokens, but the task "
                f"asks for the likelihood of a text of {len(continuation)} tokens.",
                "Use a task with shorter choices, or a model with a longer context window.",
            )
