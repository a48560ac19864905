"""A student of known provenance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kdprobe.models.merging.files import brings_tokenizer
from kdprobe.models.reference import Dtype, ModelRecord

if TYPE_CHECKING:
    from kdprobe.models.load import LoadedModel

UNTRAINED, FINE_TUNED = "untrained", "fine-tuned"
"""Names of the controls: the student without training, and the one trained on the gold solutions."""


@dataclass(frozen=True)
class Student:
    """A base model with an adapter that was trained on top of it, if any.

    Attributes:
        name: Its name, unique among the students analysed together.
        base: The base model.
        adapter: Folder of its adapter, or `None` for the base itself.
        caution: A warning for everyone who uses the student; usually empty.
        arm: The arm it belongs to, by default its name; students of one arm differ only in their seed.
        seed: The training seed.
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
        """Identifies its tokenizer; students with equal readers have the same tokenizer."""
        return self.base.digest, self.adapter if self.adapter and brings_tokenizer(self.adapter) else None

    def load_tokenizer(self) -> Any:
        """Its tokenizer: the adapter's if that has embeddings of a different size from the base's, else the base's.

        Raises:
            KdprobeError: No tokenizer can be loaded.
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
        """Loads the base with the adapter, as from `with_adapter`.

        Args:
            dtype: Data type of the weights.
            attention: `eager` if attention patterns are needed; by default the choice of transformers.

        Raises:
            KdprobeError: The base cannot be loaded, or the adapter does not fit it.
        """
        from kdprobe.models.load import load
        from kdprobe.models.merging.merge import with_adapter

        base = load(self.base, dtype=dtype, attention=attention)
        return with_adapter(base, self.adapter) if self.adapter else base
