"""Lets a model that is spread over devices return the logits of chosen positions only."""

from __future__ import annotations

from typing import Any

from accelerate.hooks import ModelHook, add_hook_to_module
from torch import Tensor

_POSITIONS = "logits_to_keep"


class _OnTheCpu(ModelHook):  # type: ignore[misc]  # accelerate is untyped
    """Passes the positions on in main memory.

    They select among hidden states that are on the last of the devices. accelerate would leave them on the first; only
    those in main memory may select among tensors on any device.
    """

    def pre_forward(self, _module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """The arguments of a pass, with the positions in main memory."""
        positions = kwargs.get(_POSITIONS)
        return args, {**kwargs, _POSITIONS: positions.cpu()} if isinstance(positions, Tensor) else kwargs


def keep_positions_anywhere(model: Any) -> None:
    """Changes how a spread model passes on the argument `logits_to_keep`."""
    add_hook_to_module(model, _OnTheCpu(), append=True)
