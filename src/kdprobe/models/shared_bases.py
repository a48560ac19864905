"""Base models, loaded once and shared by all their students.

A base is never changed. Callers get separate modules over the same weights, so that hooks, adapters and another
attention implementation stay with the caller. An adapter is merged into copies of the weights it changes; all other
weights stay shared. Beside quantised weights, it changes none. The base therefore stays bit-identical with any kind of
adapter.
"""

from __future__ import annotations

import gc
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from kdprobe.models.chatter import quiet
from kdprobe.models.load import LoadedModel, load
from kdprobe.models.merging.merge import with_adapter
from kdprobe.models.outline.device import concrete_dtype, default_device
from kdprobe.models.reference import Dtype, ModelRecord
from kdprobe.models.weights import same_weights

Attention = Literal["eager"] | None


class SharedBases:
    """The bases loaded by a process, of one data type at a time."""

    def __init__(self) -> None:
        self._loaded: dict[Hashable, LoadedModel] = {}
        self._dtype: Dtype | None = None

    def base(self, record: ModelRecord, *, dtype: Dtype = "auto", attention: Attention = None) -> LoadedModel:
        """A base: newly loaded, or new modules over weights that are already loaded.

        Args:
            record: The weights.
            dtype: Data type of the weights. Bases of another data type are released.
            attention: `eager` if attention patterns are needed; by default transformers chooses.

        Raises:
            KdprobeError: It cannot be loaded.
        """
        concrete = concrete_dtype(dtype, default_device())
        if concrete != self._dtype:
            self.clear()
            self._dtype = concrete
        shared = self._load(record, None)
        model = same_weights(shared.model)
        if attention is not None:
            with quiet():
                model.set_attn_implementation(attention)
            if model.config._attn_implementation != attention:  # noqa: SLF001 - transformers offers no other way to ask
                # Some architectures choose their attention implementation when they are built.
                model = same_weights(self._load(record, attention).model)
        return replace(shared, model=model)

    def student(
        self, record: ModelRecord, adapter: Path | None, *, dtype: Dtype = "auto", attention: Attention = None
    ) -> LoadedModel:
        """A base with an adapter, as from `with_adapter`; arguments as for `base`.

        Raises:
            UsageError: The adapter does not fit the base.
            KdprobeError: The base cannot be loaded.
        """
        if record.placement:
            # accelerate's hooks make cycles, which keep the weights of earlier students until they are collected.
            gc.collect()
        base = self.base(record, dtype=dtype, attention=attention)
        if adapter is None:
            return base
        return with_adapter(base, adapter)

    def clear(self) -> None:
        """Releases all bases; models already handed out keep their weights."""
        self._loaded.clear()

    def _load(self, record: ModelRecord, attention: Attention) -> LoadedModel:
        key = (record.weights, record.placement, attention)
        if key not in self._loaded:
            self._loaded[key] = load(record, dtype=self._dtype or "auto", attention=attention)
        return self._loaded[key]
