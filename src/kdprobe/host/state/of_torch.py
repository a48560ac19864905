"""Global state of torch that affects numbers. torch is never imported here."""

from __future__ import annotations

import sys
from operator import attrgetter
from typing import Any

from kdprobe.host.state.part import Part, calls

_TORCH = "torch"
_WAITING_SEEDS = "cuda._lazy_seed_tracker"
_ATTENTIONS = ("flash", "mem_efficient", "math", "cudnn")
_FLAGS = (
    "backends.fp32_precision",
    "backends.cudnn.fp32_precision",
    "backends.cuda.matmul.fp32_precision",
    "backends.mkldnn.fp32_precision",
    "backends.mkldnn.matmul.fp32_precision",
    "utils.deterministic.fill_uninitialized_memory",
    "backends.cudnn.enabled",
    "backends.cudnn.benchmark",
    "backends.cudnn.deterministic",
    "backends.cudnn.allow_tf32",
    "backends.cuda.matmul.allow_tf32",
    "backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
    "backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
    "backends.mkldnn.enabled",
)


def _torch() -> Any:
    return sys.modules[_TORCH]


def _flag(name: str) -> Any:
    try:
        return attrgetter(name)(_torch())
    except (AttributeError, RuntimeError) as error:
        # Not every version has every flag, and newer ones reject reading an old flag that a new one contradicts.
        return f"unreadable: {type(error).__name__}"


def _flags() -> dict[str, Any]:
    return {name: _flag(name) for name in _FLAGS}


def _write_flags(value: dict[str, Any]) -> None:
    for name, known in value.items():
        owner, _, attribute = name.rpartition(".")
        if _flag(name) != known:
            setattr(attrgetter(owner)(_torch()), attribute, known)


def _attentions() -> tuple[bool, ...]:
    return tuple(getattr(_torch().backends.cuda, f"{name}_sdp_enabled")() for name in _ATTENTIONS)


def _write_attentions(value: tuple[bool, ...]) -> None:
    for name, known in zip(_ATTENTIONS, value, strict=True):
        getattr(_torch().backends.cuda, f"enable_{name}_sdp")(known)


def _deterministic() -> tuple[bool, bool]:
    torch = _torch()
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _write_deterministic(value: tuple[bool, bool]) -> None:
    enabled, warn_only = value
    _torch().use_deterministic_algorithms(enabled, warn_only=warn_only)


def _seeds() -> tuple[Any, ...]:
    """States of the CPU and every GPU, or the seeds that wait until GPUs are first used."""
    torch = _torch()
    if torch.cuda.is_initialized():
        return tuple(state.numpy().tobytes() for state in (torch.get_rng_state(), *torch.cuda.get_rng_state_all()))
    waiting = {name: value for name, value in vars(attrgetter(_WAITING_SEEDS)(torch)).items() if value}
    return torch.get_rng_state().numpy().tobytes(), waiting


def _write_seeds(value: tuple[Any, ...]) -> None:
    torch = _torch()
    cpu, *rest = value
    torch.set_rng_state(torch.frombuffer(bytearray(cpu), dtype=torch.uint8))
    if rest and isinstance(rest[0], dict):
        tracker = attrgetter(_WAITING_SEEDS)(torch)
        for name, now in vars(tracker).items():
            setattr(tracker, name, rest[0].get(name, type(now)() if isinstance(now, list) else None))
    else:
        torch.cuda.set_rng_state_all([torch.frombuffer(bytearray(state), dtype=torch.uint8) for state in rest])


def _write_device(value: str) -> None:
    # Without a default device, torch uses the CPU.
    _torch().set_default_device(None if value == "cpu" else value)


def _read_device() -> str:
    return str(_torch().get_default_device())


TORCH_PARTS: dict[str, Part] = {
    "torch's default dtype": calls(_TORCH, "get_default_dtype", "set_default_dtype"),
    "torch's default device": Part(_read_device, _write_device, _TORCH),
    "torch's deterministic algorithms": Part(_deterministic, _write_deterministic, _TORCH),
    "torch's matrix multiplication precision": calls(
        _TORCH, "get_float32_matmul_precision", "set_float32_matmul_precision"
    ),
    # After the precision, which sets some of these flags.
    "torch's backend flags": Part(_flags, _write_flags, _TORCH),
    "torch's attention implementations": Part(_attentions, _write_attentions, _TORCH),
    "torch's number of threads": calls(_TORCH, "get_num_threads", "set_num_threads"),
    "torch's gradient mode": calls(_TORCH, "is_grad_enabled", "set_grad_enabled"),
    "torch's random state": Part(_seeds, _write_seeds, _TORCH),
}
