"""A running vLLM: its processes, its log, and requests in token ids."""

from __future__ import annotations

import gc
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdprobe import KdprobeError
from kdprobe.models import Dtype
from kdprobe_vllm.lifetime import KDPROBE
from kdprobe_vllm.lora import LoraNeeds
from kdprobe_vllm.options import VllmSettings

_CPU_CACHE_GIB = 2.0
_ENVIRONMENT = {
    # vLLM would send usage statistics.
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    # torch already runs threads in this process, with which a forked child may hang.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # It would bind threads to cores that others may be using.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_RUNNER = {"VLLM_USE_V2_MODEL_RUNNER": "0"}
"""The model runner that logits processors are written for; V2 has another interface."""
CAPTURING = {
    "logits_processors": ["kdprobe_vllm.capture:Capture"],
    # Otherwise a step begins before the last step's tokens, and so its own position, are known.
    "async_scheduling": False,
}
"""Arguments of `vllm.LLM` with which `kdprobe_vllm.capture` runs."""
_IN_SCRIPTS = "In a script, call kdprobe below `if __name__ == '__main__':`, because vLLM starts further processes. "
_CAUSE = re.compile(r"\b((?:\w+\.)*\w*(?:Error|Exception): .*)")


class Running:
    """vLLM with one set of weights.

    Args:
        weights: The folder of the model.
        tokenizer: The folder of its tokenizer.
        dtype: Data type of the weights.
        needs: What adapters need.
        options: How it runs.
        capturing: Further arguments of `vllm.LLM` if it captures distributions, such as `CAPTURING`.

    Raises:
        KdprobeError: It does not start.
    """

    def __init__(
        self,
        weights: Path,
        tokenizer: Path,
        *,
        dtype: Dtype,
        needs: LoraNeeds,
        options: VllmSettings,
        capturing: Mapping[str, Any] | None = None,
    ) -> None:
        self.weights, self.dtype, self.needs = weights, dtype, needs
        self._adapters: dict[Path, Any] = {}
        self._log_is_named = False
        with tempfile.NamedTemporaryFile(prefix="kdprobe-vllm-", suffix=".log", delete=False) as file:
            self._log = Path(file.name)
        arguments = {"model": str(weights), "tokenizer": str(tokenizer), "dtype": dtype, **(capturing or {})}
        environment = _environment(_RUNNER if capturing else {})
        with self._explained("vLLM did not start", _IN_SCRIPTS), environment, _output_to(self._log):
            self._llm = _start(arguments, needs, options)
        self.max_model_len: int = self._llm.model_config.max_model_len

    def ask(
        self, prompts: Sequence[list[int]], parameters: Sequence[dict[str, Any]], adapter: Path | None
    ) -> list[Any]:
        """The outputs for prompts, in order.

        Args:
            prompts: Token ids.
            parameters: Of vLLM's `SamplingParams`, for each prompt.
            adapter: The folder of the adapter, or `None`.

        Raises:
            KdprobeError: vLLM fails, or did not read a prompt as it is.
        """
        from vllm import SamplingParams

        with self._explained("vLLM failed"):
            outputs: list[Any] = self._llm.generate(
                [{"prompt_token_ids": ids} for ids in prompts],
                [SamplingParams(**each) for each in parameters],
                use_tqdm=False,
                lora_request=self._request(adapter) if adapter else None,
            )
        for ids, output in zip(prompts, outputs, strict=True):
            if list(output.prompt_token_ids) != list(ids):
                raise KdprobeError(
                    "vLLM read a different prompt from the one it was given.",
                    "Its numbers would be those of the other prompt; use 'transformers' instead of 'vllm'.",
                )
        return outputs

    def close(self) -> None:
        """Ends its processes."""
        core = getattr(self._llm.llm_engine, "engine_core", None)
        if core is not None:
            core.shutdown()
        del self._llm
        gc.collect()
        if not self._log_is_named:
            self._log.unlink(missing_ok=True)

    def forget_failure(self) -> None:
        """Has `close` delete the log after all: the failure whose message names it is not shown."""
        self._log_is_named = False

    def _request(self, adapter: Path) -> Any:
        from vllm.lora.request import LoRARequest

        if adapter not in self._adapters:
            number = len(self._adapters) + 1
            self._adapters[adapter] = LoRARequest(f"adapter-{number}", number, str(adapter))
        return self._adapters[adapter]

    @contextmanager
    def _explained(self, what: str, advice: str = "") -> Iterator[None]:
        """Turns whatever vLLM raises into a sentence; the cause is often only in the log of its own processes."""
        try:
            yield
        except KdprobeError:
            raise
        except Exception as error:
            self._log_is_named = True
            causes = _CAUSE.findall(self._log.read_text(encoding="utf-8", errors="replace"))
            cause = next((line for line in causes if "Engine core initialization failed" not in line), str(error))
            raise KdprobeError(
                f"{what}: {' '.join(cause.split())[:300]}",
                f"{advice}Its log is {self._log}.",
            ) from error


def _start(arguments: Mapping[str, Any], needs: LoraNeeds, options: VllmSettings) -> Any:
    import torch
    from vllm import LLM

    on_cpu = not torch.cuda.is_available()
    if not on_cpu:
        # vLLM takes a share of the memory that is free when it starts.
        gc.collect()
        torch.cuda.empty_cache()
    cache = options.kv_cache_gib or (_CPU_CACHE_GIB if on_cpu else None)
    adapters: dict[str, Any] = {}
    if needs.rank:
        # Without the list of modules, vLLM also prepares the output layer, and then cannot score several prompts.
        modules = sorted(needs.modules)
        adapters = {"enable_lora": True, "max_loras": 1, "max_lora_rank": needs.rank, "lora_target_modules": modules}
    return LLM(
        **arguments,
        seed=0,
        max_model_len=options.max_model_len,
        tensor_parallel_size=options.tensor_parallel_size,
        gpu_memory_utilization=options.gpu_memory_utilization,
        kv_cache_memory_bytes=int(cache * 2**30) if cache else None,
        # Compiling pays on a GPU only.
        enforce_eager=on_cpu,
        # No pickles, and no settings from the model's generation_config.json.
        load_format="safetensors",
        generation_config="vllm",
        # Before temperature and penalties.
        logprobs_mode="raw_logprobs",
        # An answer must not depend on what was asked before.
        enable_prefix_caching=False,
        disable_log_stats=True,
        **adapters,
    )


@contextmanager
def _environment(further: Mapping[str, str]) -> Iterator[None]:
    """The environment in which vLLM's processes start; what the user has set already mostly stays."""
    import torch

    added = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    added |= {"OMP_NUM_THREADS": str(torch.get_num_threads()), KDPROBE: str(os.getpid()), **further}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Sends what this process and those it starts print to a file; they keep the file when the block ends."""
    saved = [os.dup(1), os.dup(2)]
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    try:
        yield
    finally:
        for stream, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, stream)
            os.close(descriptor)
