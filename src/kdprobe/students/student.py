"""A student of known provenance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kdprobe.models.reference import Dtype, ModelRecord

if TYPE_CHECKING:
    from kdprobe.models.load import LoadedModel


@dataclass(frozen=True)
class Student:
    """A base model and what was trained on top of it.

    Attributes:
        name: Unique among the students that it is looked at with.
        base: The base model.
        adapter: Folder of its LoRA adapter, or `None` for the untouched base.
        caution: What everybody must know who uses it; empty for most.
        arm: The arm it belongs to; the students of one arm differ by their seed alone. By default its name.
        seed: Of its training.
    """

    name: str
    base: ModelRecord
    adapter: Path | None = None
    caution: str = ""
    arm: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.arm:
            object.__setattr__(self, "arm", self.name)

    def load(
        self,
        *,
        dtype: Dtype = "auto",
        attention: Literal["eager"] | None = None,
    ) -> LoadedModel:
        """Loads the base and merges the adapter into it.

        Args:
            dtype: Data type of the weights.
            attention: `eager` where attention patterns are wanted; by default what transformers chooses.

        Raises:
            KdprobeError: The base cannot be loaded, or the adapter does not fit it.
        """
        from kdprobe.models.load import load
        from kdprobe.models.merging.merge import merge

        base = load(self.base, dtype=dtype, attention=attention)
        return merge(base, self.adapter) if self.adapter else base
