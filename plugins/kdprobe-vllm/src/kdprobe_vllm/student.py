"""A student that vLLM runs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdprobe import KdprobeError, NonFiniteError
from kdprobe.evaluation import Decoded, Decoding, Scored
from kdprobe.models import LoadedModel
from kdprobe.teachers import Passage
from kdprobe_vllm.options import VllmOptions
from kdprobe_vllm.running import Running

_PASSAGES = 64
_SAMPLING = ("temperature", "top_p", "top_k", "min_p")
_NAMES = {"repetition_penalty": "repetition_penalty", "min_new_tokens": "min_tokens"}
"""Further settings that transformers and vLLM both have, with vLLM's name."""
_NEUTRAL = frozenset(
    {
        "_from_model_config",
        "bos_token_id",
        "cache_implementation",
        "do_sample",
        "eos_token_id",
        "max_length",
        "max_new_tokens",
    }
    | {"pad_token_id", "transformers_version", "use_cache"}
)
"""Settings of a model that do not change which tokens it writes, or that every evaluation sets itself."""
_TOP_K = 50
"""transformers samples from so many tokens unless the model or the task says otherwise."""
_REPORTED = ("output_", "return_")
"""How settings begin that say what `generate` returns besides the tokens."""
_ONE = frozenset({"num_beams", "num_return_sequences"})
"""Settings that are supported if they are 1."""
_RAW = {"max_tokens": 1, "temperature": 0.0, "ignore_eos": True, "detokenize": False, "prompt_logprobs": 1}
"""vLLM writes at least one token; the log-probabilities are those of the prompt."""


class VllmStudent:
    """A student as vLLM runs it; see `kdprobe.evaluation.EngineStudent`.

    Args:
        running: The running vLLM.
        loaded: The student as transformers has it.
        adapter: The folder of the adapter for LoRA requests, or `None` if the weights are the student's own.
        options: The engine's options.
    """

    model = None

    def __init__(self, running: Running, loaded: LoadedModel, adapter: Path | None, options: VllmOptions) -> None:
        self._running, self._adapter, self._options = running, adapter, options
        self.tokenizer, self.record, self.config = loaded.tokenizer, loaded.record, loaded.model.config
        self.end_ids = loaded.eos_ids
        self._defaults = _defaults(loaded.model.generation_config)
        # vLLM reads the last token, which lm-eval's models only predict, and writes one more.
        self.context_length = running.max_model_len - 2

    def answers_at_once(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> int:
        """As the options say: vLLM itself decides how many it answers at the same time."""
        del new_tokens
        return min(len(prompts), self._options.answers_at_once)

    def passages_at_once(self, longest: int) -> int:
        """A fixed number, whatever the longest passage: vLLM itself decides how many it reads at the same time."""
        del longest
        return _PASSAGES

    def decode(
        self, prompts: Sequence[list[int]], decoding: Decoding, on_tokens: Callable[[int], None]
    ) -> list[Decoded]:
        """Answers prompts; see `kdprobe.evaluation.EngineStudent`."""
        shared = {
            **_settings(self._defaults | dict(decoding.settings)),
            "max_tokens": decoding.max_new_tokens,
            # These end an answer, and nothing else does.
            "ignore_eos": True,
            "stop_token_ids": sorted(decoding.end_ids),
            "stop": list(decoding.stop_texts),
            "detokenize": bool(decoding.stop_texts),
            "skip_special_tokens": False,
            # The log-probability of what was written shows whether the logits were finite.
            "logprobs": 0,
        }
        seeded = [{**shared, "seed": _seed(decoding.seed, prompt)} for prompt in prompts]
        answers = []
        for output in self._running.ask(prompts, seeded, self._adapter):
            (answer,) = output.outputs
            if not all(math.isfinite(value.logprob) for row in answer.logprobs for value in row.values()):
                raise NonFiniteError("The log-probabilities of an answer are NaN or infinite.")
            if answer.finish_reason not in {"stop", "length"}:
                raise KdprobeError(
                    f"vLLM ended an answer for the reason {answer.finish_reason!r}.",
                    "Finished answers are saved; rerun the command, or use the engine 'transformers'.",
                )
            answers.append(Decoded(list(answer.token_ids), finished=answer.finish_reason == "stop"))
        on_tokens(sum(len(answer.token_ids) for answer in answers))
        return answers

    def score(self, passages: Sequence[Passage]) -> list[Scored]:
        """Scores passages; see `kdprobe.evaluation.EngineStudent`."""
        whole = [[*passage.prompt, *passage.token_ids] for passage in passages]
        scored = []
        for passage, ids, output in zip(
            passages, whole, self._running.ask(whole, [_RAW] * len(whole), self._adapter), strict=True
        ):
            rows = output.prompt_logprobs[len(passage.prompt) :]
            log_p = [row[id_].logprob for row, id_ in zip(rows, ids[len(passage.prompt) :], strict=True)]
            if not all(map(math.isfinite, log_p)):
                raise NonFiniteError(f"The log-probabilities of the passage {passage.id!r} are NaN or infinite.")
            best = [max(value.logprob for value in row.values()) for row in rows]
            scored.append(Scored(log_p, greedy=log_p == best))
        return scored


def log_probabilities(running: Running, ids: list[int], adapter: Path | None) -> list[float]:
    """Log-probability of each token but the first, given those before it, in nats.

    Raises:
        KdprobeError: vLLM fails.
    """
    (output,) = running.ask([ids], [_RAW], adapter)
    return [row[id_].logprob for row, id_ in zip(output.prompt_logprobs[1:], ids[1:], strict=True)]


def _defaults(config: Any) -> dict[str, Any]:
    """The settings in a model's generation_config.json, which transformers applies to whatever a task leaves open."""
    from transformers import GenerationConfig

    known = GenerationConfig().to_dict().keys() - _NEUTRAL
    return {name: value for name, value in config.to_diff_dict().items() if name in known and value is not None}


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for `SamplingParams` that mean what these mean to `generate` of transformers.

    Raises:
        KdprobeError: vLLM has no such setting.
    """
    sampled = bool(settings.get("do_sample")) and settings.get("temperature") != 0
    found: dict[str, Any] = {"temperature": 1.0, "top_k": _TOP_K} if sampled else {"temperature": 0.0}
    for name, value in settings.items():
        if name == "do_sample" or value is None:
            continue
        if name in _SAMPLING:
            found |= {name: value} if sampled else {}
        elif name in _NAMES:
            found[_NAMES[name]] = value
        elif value and not (name in _ONE and value == 1) and not name.startswith(_REPORTED):
            raise KdprobeError(
                f"The engine 'vllm' does not support the generation setting {name} = {value!r}, which the task or the "
                "model's generation_config.json asks for.",
                "Use the engine 'transformers'.",
            )
    return found


def _seed(seed: int, prompt: Sequence[int]) -> int:
    """One seed per prompt, so that its answer does not depend on what else is in the batch."""
    return int.from_bytes(hashlib.sha256(repr((seed, [*prompt])).encode()).digest()[:7])
