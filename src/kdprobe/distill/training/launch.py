"""What a launcher asks of training through its environment, and what is refused.

`accelerate launch` passes its configuration on in variables, and the libraries obey them without a word. Whatever would
change the numbers, or is not shown to leave them unchanged, is refused here.
"""

from __future__ import annotations

import os
from importlib.metadata import version

from kdprobe.distill.distiller import TrainContext
from kdprobe.errors import UsageError
from kdprobe.models import processes
from kdprobe.models.load import LoadedModel, load
from kdprobe.models.outline.device import concrete_dtype, default_device
from kdprobe.models.reference import ModelRecord

_ACCELERATE = (1, 15)
"""The oldest version of accelerate whose FSDP2 was checked against one process."""
_UNSUPPORTED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "parallelism_config (tensor, context and hybrid parallelism)",
}
_SHARDING = {
    "FSDP_CPU_RAM_EFFICIENT_LOADING": (
        "The option fsdp_cpu_ram_efficient_loading reads the weights in the first process only.",
        "Set fsdp_cpu_ram_efficient_loading: false. kdprobe loads weights into CPU memory and moves slices to GPUs.",
    ),
    "FSDP_ACTIVATION_CHECKPOINTING": (
        "The option fsdp_activation_checkpointing does not restore random states, so it changes dropout masks.",
        "Set it to false, and gradient_checkpointing = true in the options of the distiller.",
    ),
    "FSDP_OFFLOAD_PARAMS": (
        "kdprobe does not support fsdp_offload_params.",
        "Set it to false; to save memory, set gradient_checkpointing = true in the options of the distiller.",
    ),
    "FSDP_IGNORED_MODULES": (
        "kdprobe itself chooses the modules that FSDP ignores.",
        "Remove fsdp_ignored_modules from accelerate's configuration.",
    ),
}


def is_sharded() -> bool:
    """Whether the launcher asks for FSDP."""
    return _is_on("ACCELERATE_USE_FSDP")


def load_base(context: TrainContext) -> LoadedModel:
    """The student's base; in CPU memory if its weights will be divided, because one GPU may not have room for all."""
    device = default_device()
    dtype = concrete_dtype(context.dtype, device)
    return load(context.student, dtype=dtype, device="cpu" if is_sharded() else device)


def refuse_launch(student: ModelRecord) -> None:
    """Checks what the launcher asks for, and whether the student's weights can be trained on.

    Args:
        student: The model to train.

    Raises:
        UsageError: It is not supported, alone or together with this student.
    """
    for variable, name in _UNSUPPORTED.items():
        if _is_on(variable):
            raise UsageError(
                f"kdprobe does not train with {name}.",
                "Launch with DDP (--multi_gpu), or with FSDP2 (fsdp_version: 2).",
            )
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if precision != "no":
        raise UsageError(
            f"The launcher asks for mixed precision ({precision}), which would change results without being recorded.",
            "Launch with --mixed_precision no, and choose the base's data type with distill.dtype.",
        )
    compiler = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if compiler != "no":
        raise UsageError(
            f"The launcher asks for a compiled model (the dynamo backend {compiler}), which would change results "
            "without being recorded.",
            "Launch with --dynamo_backend no.",
        )
    if is_sharded():
        _refuse_sharding()
    if student.is_packed:
        _refuse_quantised(student)


def _refuse_sharding() -> None:
    stated = os.environ.get("FSDP_VERSION", "1")
    if stated != "2":
        raise UsageError(
            f"kdprobe does not train with version {stated} of FSDP, which PyTorch has deprecated.",
            "Set fsdp_version: 2 in accelerate's configuration.",
        )
    if tuple(map(int, version("accelerate").split(".")[:2])) < _ACCELERATE:
        raise UsageError(
            f"FSDP2 needs accelerate {'.'.join(map(str, _ACCELERATE))} or newer; {version('accelerate')} is installed.",
            "Update it with: pip install -U accelerate",
        )
    if processes.count() == 1:
        raise UsageError(
            "FSDP divides a model among processes, but only one was launched.",
            "Set num_processes in accelerate's configuration, or launch without FSDP.",
        )
    for variable, (reason, hint) in _SHARDING.items():
        if _is_on(variable):
            raise UsageError(reason, hint)


def _refuse_quantised(student: ModelRecord) -> None:
    """Weights that stay quantised are trained on in one process, beside an adapter, if bitsandbytes keeps them."""
    subject = f"The weights of the student {student.name!r} are quantised ({student.quantisation})"
    if not student.is_of_bitsandbytes:
        raise UsageError(
            f"{subject}; kdprobe can train adapters on quantised weights only if bitsandbytes quantised them.",
            "Choose a model whose weights are not quantised; if memory is short, student.quantization quantises them "
            "when they are loaded.",
        )
    if is_sharded():
        raise UsageError(
            f"{subject}, and FSDP2 cannot divide them among processes (huggingface/accelerate#3874).",
            "Launch one process, or use weights that are not quantised.",
        )
    if processes.count() > 1:
        raise UsageError(
            f"{subject}; kdprobe can train adapters on quantised weights only in a single process.",
            "Launch one process, or use weights that are not quantised.",
        )


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() not in {"", "0", "false", "no", "none"}
