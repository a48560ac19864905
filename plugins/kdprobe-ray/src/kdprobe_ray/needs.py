"""What a stage asks Ray for."""

from __future__ import annotations

from functools import cache
from typing import Any

from kdprobe.experiment import Task
from kdprobe_ray.options import RayOptions

_BYTES = 2**30


def needs(task: Task, options: RayOptions) -> dict[str, Any]:
    """The resources of a task, as Ray names them.

    A stage whose device is not stated runs on one like this process's, as its key says.
    """
    device = task.resources.device or ("cuda" if _has_gpu() else "cpu")
    asked: dict[str, Any] = {
        "num_cpus": task.resources.threads or options.cpus,
        "num_gpus": (task.resources.gpus or 1) if device == "cuda" else 0,
    }
    if task.resources.memory_gib:
        asked["memory"] = int(task.resources.memory_gib * _BYTES)
    return asked


def overload(task: Task, asked: dict[str, Any]) -> str:
    """What to note if a stage without stated threads uses more CPUs than it asks for; else nothing."""
    if task.resources.threads or asked["num_gpus"] or (threads := _threads()) <= asked["num_cpus"]:
        return ""
    cpus = f"{asked['num_cpus']} {'CPU' if asked['num_cpus'] == 1 else 'CPUs'}"
    return (
        f"Each stage uses {threads} CPU threads but requests only {cpus} from Ray, so too many stages may run at the "
        f"same time. Set `threads` in [resources], or use --option ray.cpus={threads}."
    )


@cache
def _threads() -> int:
    import torch

    return torch.get_num_threads()


@cache
def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
