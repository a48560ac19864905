"""What an adapter asks of vLLM: its rank, and the modules that it changes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kdprobe import UsageError
from kdprobe.models import AdapterRecord, only_adds

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks for which vLLM can be started."""
_VOCABULARY = frozenset({"lm_head", "embed_tokens", "embed_out", "wte"})
"""Modules of the vocabulary, which are not linear layers for vLLM."""


@dataclass(frozen=True)
class LoraNeeds:
    """What vLLM has to be started with for LoRA requests.

    Attributes:
        rank: The largest rank; 0 if there are no adapters.
        modules: The last parts of the names of the modules that adapters change.
    """

    rank: int = 0
    modules: frozenset[str] = frozenset()

    def covers(self, other: LoraNeeds) -> bool:
        """Whether a vLLM started for these needs can also serve adapters with the other needs."""
        return other.rank <= self.rank and other.modules <= self.modules

    def with_those_of(self, other: LoraNeeds) -> LoraNeeds:
        """What adapters of both kinds need."""
        return LoraNeeds(max(self.rank, other.rank), self.modules | other.modules)


NO_LORA = LoraNeeds()


def lora_needs(adapter: Path) -> LoraNeeds | str:
    """What a plain LoRA needs, or why vLLM cannot take it, as the end of a sentence.

    Args:
        adapter: The adapter's folder.
    """
    from safetensors import safe_open

    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    highest = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    rank = next((rank for rank in _RANKS if rank >= highest), None)
    if rank is None:
        return f"its rank is {highest}, above {_RANKS[-1]}"
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
        modules = frozenset(name.partition(".lora_")[0].rpartition(".")[2] for name in file.keys())  # noqa: SIM118
    if vocabulary := sorted(modules & _VOCABULARY):
        return f"it changes {vocabulary[0]}"
    return LoraNeeds(rank, modules)


def teacher_needs(adapter: AdapterRecord) -> LoraNeeds:
    """What a teacher's adapter needs.

    Raises:
        UsageError: vLLM cannot take it.
    """
    needs = lora_needs(adapter.path) if only_adds(adapter.path) else "it is not a plain LoRA"
    if isinstance(needs, str):
        raise UsageError(
            f"The teacher 'vllm' cannot use the adapter {adapter.name!r}: {needs}.",
            "Merge it into its model and use that as the teacher, or use the teacher 'transformers'.",
        )
    return needs
