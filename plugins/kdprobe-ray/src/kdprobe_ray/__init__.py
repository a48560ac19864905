"""The executor `ray`: the stages of kdprobe's experiments as Ray tasks, on one machine or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kdprobe import ExecutorSpec, hookimpl
from kdprobe_ray.options import RayOptions

kdprobe_api = 5


@hookimpl
def kdprobe_executors() -> Iterator[ExecutorSpec]:
    """`ray`."""
    yield ExecutorSpec(
        name="ray",
        summary="Ray: stages side by side on this machine or on a cluster",
        build=_build,
        options=RayOptions,
    )


def _build(options: RayOptions) -> Any:
    from kdprobe_ray.executor import RayExecutor

    return RayExecutor(options)
