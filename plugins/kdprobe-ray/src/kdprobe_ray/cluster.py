"""Starting a Ray cluster on this machine, or joining one."""

from __future__ import annotations

import logging
import socket
from typing import Any

from kdprobe import KdprobeError

_OBJECT_STORE_BYTES = 100 * 2**20
"""Stages exchange files; Ray carries only messages. Close to the least that Ray accepts."""
_CONNECT_SECONDS = 10.0


def join(address: str | None) -> None:
    """Joins the cluster at an address, or starts one on this machine.

    Raises:
        KdprobeError: There is no such cluster, it has another version of Ray, or Ray does not start.
    """
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **quiet)
        else:
            _reach(address)
            ray.init(address=address, **quiet)
    except Exception as error:
        what = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if address is None:
            raise KdprobeError(f"Cannot start Ray on this machine: {what}.") from error
        raise KdprobeError(
            f"Cannot join the Ray cluster {address!r}: {what}.",
            "Start one with `ray start --head`, or make this machine part of one with `ray start --address=HEAD:6379`.",
        ) from error


def _reach(address: str) -> None:
    """Fails at once if nothing listens at an address, for which Ray would wait for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


def fits(asked: dict[str, Any]) -> bool:
    """Whether a node of the cluster has what a stage asks for."""
    import ray

    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    return any(
        all(node["Resources"].get(names[name], 0) >= amount for name, amount in asked.items())
        for node in ray.nodes()
        if node["Alive"]
    )


def has_gpus() -> bool:
    """Whether any node has a GPU."""
    import ray

    return bool(ray.cluster_resources().get("GPU"))
