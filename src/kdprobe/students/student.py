"""A student of known provenance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kdprobe.models.merging.files import brings_tokenizer
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

    @property
    def reader(self) -> tuple[str, Path | None]:
        """Whose tokenizer it may read with; students with equal readers have one tokenizer."""
        return self.base.digest, self.adapter if self.adapter and brings_tokenizer(self.adapter) else None

    def load_tokenizer(self) -> Any:
        """The tokenizer that it reads with: its adapter's, where that has embeddings of another size than the base's.

        Raises:
            KdprobeError: There is none that can be loaded.
        """
        from kdprobe.models.load import load_tokenizer
        from kdprobe.models.merging.vocabulary import own_tokenizer

        own = own_tokenizer(self.base, self.adapter) if self.adapter else None
        return own or load_tokenizer(self.base)

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
