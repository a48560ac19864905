"""Describes unexpected errors in a sentence, naming the plugin at fault if there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kdprobe.errors import KdprobeError, doing_when, quoted

if TYPE_CHECKING:
    from kdprobe.host.provider import Provider
    from kdprobe.host.registry import Host

_FULL_DISK = (
    "no space left on device",
    "disk is full",
    "disk quota exceeded",
    "inline_container",
    "pytorchstreamwriter",
)
"""The last two are torch's messages when it cannot finish writing a file."""
_FULL_MEMORY = ("memoryerror", "out of memory", "not enough memory", "can't allocate memory", "unable to allocate")


class UnexpectedError(KdprobeError):
    """An unexpected error, described in a sentence; the original error is its `__cause__`.

    Attributes:
        hosts: The loaded plugins, one of which may be at fault.
    """

    def __init__(self, error: BaseException, hosts: Sequence[Host]) -> None:
        told = in_a_sentence(
            error, hosts, plugin_hint="The traceback shows where.", unknown_hint=lambda: "Please report the traceback."
        )
        super().__init__(told.message, told.hint)
        self.hosts = tuple(hosts)


def in_a_sentence(
    error: BaseException, hosts: Sequence[Host], *, kept: str = "", plugin_hint: str, unknown_hint: Callable[[], str]
) -> KdprobeError:
    """Turns an unexpected error into one that says what to do.

    Args:
        error: Any exception.
        hosts: The loaded plugins, one of which may be at fault.
        kept: A sentence about finished work, with a space at the end; may be empty.
        plugin_hint: What to do if a plugin failed.
        unknown_hint: Returns what to do about an unknown error; called only then.
    """
    what = f"{_described(error)}{doing_when(error)}"
    words = f"{type(error).__name__} {error}".lower()
    if any(text in words for text in _FULL_DISK):
        return KdprobeError(what, f"{kept}Free some disk space.")
    if any(text in words for text in _FULL_MEMORY):
        return KdprobeError(what, f"{kept}Use a smaller batch or model, or more memory.")
    if plugin := _plugin_at_fault(error, hosts):
        source = f"{plugin.source} {plugin.version}".strip()
        return KdprobeError(f"The plugin {plugin.name} ({source}) failed: {what}", f"{kept}{plugin_hint}")
    if isinstance(error, ConnectionError | TimeoutError):
        return KdprobeError(what, f"{kept}Check the network.")
    if isinstance(error, OSError):
        return KdprobeError(what, f"{kept}Check the disk and its permissions.")
    return KdprobeError(f"kdprobe or one of its libraries failed: {what}", f"{kept}{unknown_hint()}")


def _described(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    return quoted(error)


def _plugin_at_fault(error: BaseException, hosts: Sequence[Host]) -> Provider | None:
    from kdprobe.host.guard import plugin_at_fault

    return next((plugin for host in hosts if (plugin := plugin_at_fault(error, host.providers))), None)
