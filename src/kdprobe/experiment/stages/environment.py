"""What determines numbers about the machine and the installation, for stage keys and for the record."""

from __future__ import annotations

from typing import Any

from kdprobe.models.installed import version
from kdprobe.models.outline.device import default_device, planned_device, thread_count

LIBRARIES = ("torch", "transformers", "peft", "lm-eval", "transformer-lens", "tokenizers")


def environment(*libraries: str) -> dict[str, Any]:
    """Versions of libraries, device kind and thread count."""
    device = default_device()
    return {
        "libraries": {name: version(name) for name in libraries},
        # The name of the GPU, unless only its class was stated, since a plan may be made where there is none.
        "device": _device_name() if device.startswith("cuda") and not planned_device() else device,
        # The order of a sum, and so its last bits, depends on the number of threads.
        "threads": thread_count(),
    }


def _device_name() -> str:
    import torch

    return torch.cuda.get_device_name()
