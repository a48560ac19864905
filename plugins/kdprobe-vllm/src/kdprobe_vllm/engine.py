"""vLLM as an engine: one base for all adapters where that gives the students' numbers, else merged students."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdprobe import KdprobeError, UsageError
from kdprobe.console import note
from kdprobe.models import Dtype, model_folder, only_adds, quiet
from kdprobe.students import Student
from kdprobe_vllm.check import ALLOWED, Expected, expected_numbers, mean_difference
from kdprobe_vllm.lora import NO_LORA, LoraNeeds, lora_needs
from kdprobe_vllm.options import VllmOptions
from kdprobe_vllm.running import Running
from kdprobe_vllm.student import VllmStudent, log_probabilities
from kdprobe_vllm.version import vllm_version


class VllmEngine:
    """Starts vLLM when the first student is loaded, and again only for other weights or a higher rank.

    Args:
        options: The engine's options.

    Raises:
        UsageError: vLLM is not installed.
    """

    def __init__(self, options: VllmOptions) -> None:
        self._options = options
        self.versions: Mapping[str, str] = {"vllm": vllm_version("engine")}
        self._running: Running | None = None
        self._merged: tempfile.TemporaryDirectory[str] | None = None

    def load(self, student: Student, *, dtype: Dtype, bases: Any) -> VllmStudent:
        """Loads a student and compares it with transformers; see `kdprobe.evaluation.Engine`.

        Raises:
            UsageError: LoRA requests are demanded, and would not give the student's numbers.
            KdprobeError: vLLM does not start, or its numbers are not the model's.
        """
        base, tokenizer = model_folder(student.base), student.reader[1] or model_folder(student.base)
        if student.adapter is None:
            expected = expected_numbers(student, dtype, bases)
            return self._whole(student, expected, self._start(base, tokenizer, dtype, NO_LORA))
        needs = self._request_needs(student.adapter)
        expected = expected_numbers(student, dtype, bases, effect=isinstance(needs, LoraNeeds))
        running, reason = self._beside_base(student.adapter, needs, expected, base, dtype)
        if running is not None:
            return VllmStudent(running, expected.loaded, student.adapter, self._options)
        if self._options.adapters == "lora":
            raise UsageError(
                f"The adapter of {student.name!r} cannot be passed to vLLM as a LoRA request: {reason}.",
                "Set the option `adapters` to `auto` or `merged`.",
            )
        if self._options.adapters == "auto":
            note(f"{student.name}: merged for vLLM, because {reason}.")
        self.close()
        self._merged = tempfile.TemporaryDirectory(prefix="kdprobe-vllm-")
        with quiet():
            expected.loaded.model.save_pretrained(self._merged.name)
        return self._whole(student, expected, self._start(Path(self._merged.name), tokenizer, dtype, NO_LORA))

    def close(self) -> None:
        """Ends vLLM's processes and deletes merged weights."""
        if self._running is not None:
            self._running.close()
            self._running = None
        if self._merged is not None:
            self._merged.cleanup()
            self._merged = None

    def _start(self, weights: Path, tokenizer: Path, dtype: Dtype, needs: LoraNeeds) -> Running:
        running = self._running
        if running and (running.weights, running.dtype) == (weights, dtype):
            if running.needs.covers(needs):
                return running
            # Adapters of both kinds may take turns.
            needs = needs.with_those_of(running.needs)
        if running:
            self.close()
        self._running = Running(weights, tokenizer, dtype=dtype, needs=needs, options=self._options)
        return self._running

    def _request_needs(self, adapter: Path) -> LoraNeeds | str:
        """What a LoRA request needs, or why the adapter cannot be one, as the end of a sentence."""
        if self._options.adapters == "merged":
            return "the options say so"
        return lora_needs(adapter) if only_adds(adapter) else "it is not a plain LoRA"

    def _beside_base(
        self, adapter: Path, needs: LoraNeeds | str, expected: Expected, base: Path, dtype: Dtype
    ) -> tuple[Running | None, str]:
        """The running base, if LoRA requests give the student's numbers; else why not, as the end of a sentence."""
        if isinstance(needs, str):
            return None, needs
        running = self._start(base, base, dtype, needs)
        try:
            found = log_probabilities(running, expected.ids, adapter)
        except KdprobeError as error:
            running.forget_failure()
            return (
                None,
                f"vLLM refuses it as a LoRA request ({error.message.removeprefix('vLLM failed: ').rstrip('.')})",
            )
        distance = mean_difference(found, expected.log_p)
        # Numbers of the base must never pass for those of the student.
        if distance <= ALLOWED[dtype] and distance < expected.effect / 2:
            return running, ""
        limit = (
            f"and the adapter's whole effect is only {expected.effect:.2g}"
            if distance <= ALLOWED[dtype]
            else f"more than the {ALLOWED[dtype]:g} allowed"
        )
        return None, (
            f"vLLM's log-probabilities with a LoRA request are off by {distance:.2g} nats per token (compared with the "
            f"merged student), {limit}"
        )

    def _whole(self, student: Student, expected: Expected, running: Running) -> VllmStudent:
        """The student whose own weights vLLM has loaded, if vLLM gives its numbers."""
        distance = mean_difference(log_probabilities(running, expected.ids, None), expected.log_p)
        # Also true of NaN.
        if not distance <= ALLOWED[running.dtype]:
            raise KdprobeError(
                f"vLLM's log-probabilities for {student.name!r} differ from those of transformers by {distance:.2g} "
                f"nats per token; at most {ALLOWED[running.dtype]:g} is allowed in {running.dtype}.",
                "Use the engine 'transformers'.",
            )
        return VllmStudent(running, expected.loaded, None, self._options)
