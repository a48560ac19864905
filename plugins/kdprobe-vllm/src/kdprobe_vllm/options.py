"""What a config may set."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kdprobe.models import Dtype


class VllmSettings(BaseModel):
    """How vLLM runs a model, as an engine or as a teacher."""

    max_model_len: int | None = Field(
        default=None, ge=16, description="Size of the context window, in tokens; by default, the model's own."
    )
    answers_at_once: int = Field(
        default=256, ge=1, description="Answers that are saved together, unless the batch size is set."
    )
    kv_cache_gib: float | None = Field(
        default=None,
        gt=0,
        description="GiB for keys and values; by default 2 on a CPU, and what gpu_memory_utilization leaves on a GPU.",
    )
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1, description="Share of a GPU's memory for vLLM.")
    tensor_parallel_size: int = Field(default=1, ge=1, description="Number of GPUs that share a model.")


class VllmOptions(VllmSettings):
    """Options of the engine `vllm`."""

    adapters: Literal["auto", "lora", "merged"] = Field(
        default="auto",
        description="`auto`: as LoRA requests if a check shows that they give the merged student's log-probabilities, "
        "else merged. "
        "`lora`: refuse instead of merging. `merged`: always merge.",
    )


class VllmTeacherOptions(VllmSettings):
    """Options of the teacher `vllm`."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="Alias, folder, GGUF file or Hub id.")
    revision: str | None = Field(default=None, description="Commit on the Hub.")
    adapter: str | None = Field(default=None, description="Adapter, a plain LoRA: a folder, a Hub id, or kdprobe:NAME.")
    dtype: Dtype = Field(default="auto", description="Weights' data type; auto: float32 on a CPU, bfloat16 on a GPU.")
    answers_at_once: int = Field(default=256, ge=1, description="Answers that are saved together.")
    pipeline_parallel_size: int = Field(
        default=1, ge=1, description="Number of groups of tensor_parallel_size GPUs, each of which runs some layers."
    )
    check: bool = Field(
        default=True,
        description="First compare the log-probabilities of a short conversation with those of transformers. For this, "
        "transformers loads the model too; on a machine with GPUs, into the CPU's memory.",
    )
