"""What determines numbers about the machine and the installation, for stage keys and for the record."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

LIBRARIES = ("torch", "transformers", "peft", "lm-eval", "transformer-lens", "tokenizers")


def environment(*libraries: str) -> dict[str, Any]:
    """Versions of libraries, device kind and thread count."""
    import torch

    from kdprobe.models.load import default_device

    device = default_device()
    return {
        "libraries": {name: _version(name) for name in libraries},
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        # The order of a sum, and so its last bits, depends on the number of threads.
        "threads": torch.get_num_threads(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
