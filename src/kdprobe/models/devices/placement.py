"""How the weights of a model are spread over devices if one does not hold them.

accelerate decides which layer goes where, with the names and rules that transformers has for `device_map`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import AfterValidator, BaseModel, Field, model_validator

from kdprobe.errors import UsageError

DeviceMap = Literal["auto", "balanced", "balanced_low_0", "sequential"]
"""How accelerate chooses: evenly (`auto` and `balanced`), sparing the first GPU, or filling one GPU after the other."""
_SIZE = re.compile(r"\d+(\.\d+)? ?(KB|KiB|MB|MiB|GB|GiB)")
_DEVICE = re.compile(r"\d{1,4}|cpu")


def _are_sizes(sizes: dict[str, str]) -> dict[str, str]:
    for device, size in sizes.items():
        if not _DEVICE.fullmatch(device):
            raise ValueError(f"the device {device!r} must be the number of a GPU, or cpu")
        if not _SIZE.fullmatch(size):
            raise ValueError(f"{size!r} is not an amount of memory such as 70GiB")
    return sizes


MaxMemory = Annotated[dict[str, str], AfterValidator(_are_sizes)]
"""The most memory that weights may take, by device: the number of a GPU, or `cpu`."""


@dataclass(frozen=True)
class Placement:
    """Where weights go.

    Attributes:
        device_map: How accelerate chooses.
        max_memory: Pairs of a device and the most memory that weights may take there.
    """

    device_map: DeviceMap
    max_memory: tuple[tuple[str, str], ...] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for `from_pretrained`."""
        limits = {int(device) if device.isdecimal() else device: size for device, size in self.max_memory}
        return {"device_map": self.device_map, **({"max_memory": limits} if limits else {})}


def named_placement(device_map: str | None) -> Placement | None:
    """The placement that a `device_map` names; `None` for none.

    Raises:
        UsageError: There is no such `device_map`.
    """
    if device_map is None:
        return None
    if device_map not in get_args(DeviceMap):
        raise UsageError(f"Unknown device_map {device_map!r}.", f"Use one of {', '.join(get_args(DeviceMap))}.")
    return Placement(cast("DeviceMap", device_map))


class PlacementOptions(BaseModel):
    """The options of everything that loads a model and may spread it; no key depends on them."""

    # Left out of the data unless they are stated, because a run's name is a digest of them.
    device_map: DeviceMap | None = Field(
        default=None,
        description="How to spread the weights over all GPUs: evenly (`auto`, `balanced`), sparing the first "
        "(`balanced_low_0`), or filling one after the other (`sequential`); by default, one device holds them.",
        exclude_if=lambda stated: stated is None,
    )
    max_memory: MaxMemory = Field(
        default_factory=dict,
        description='With `device_map`: the most memory for weights by device, such as `{ 0 = "60GiB", 1 = "70GiB" }`.',
        exclude_if=lambda stated: not stated,
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.max_memory and self.device_map is None:
            raise ValueError('max_memory needs device_map, such as device_map = "auto"')
        return self

    @property
    def placement(self) -> Placement | None:
        """Where the weights go; `None` if one device holds them."""
        if self.device_map is None:
            return None
        return Placement(self.device_map, tuple(sorted(self.max_memory.items())))
