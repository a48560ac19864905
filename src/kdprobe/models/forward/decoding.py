"""Decoding by kdprobe's own settings, with the model's own ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import GenerationConfig

from kdprobe.models.load import LoadedModel


@contextmanager
def without_own_settings(loaded: LoadedModel) -> Iterator[None]:
    """Sets a model's own decoding settings aside, such as a repetition penalty, and keeps the tokens that it ends with.

    `generate` takes from these settings whatever its caller leaves open.

    Args:
        loaded: The model.
    """
    # Before the model's settings are replaced, because they declare some of these tokens.
    ends = sorted(loaded.eos_ids)
    own = loaded.model.generation_config
    loaded.model.generation_config = GenerationConfig(eos_token_id=ends)
    try:
        yield
    finally:
        loaded.model.generation_config = own
