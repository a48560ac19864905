"""One pass over a sequence, recording what attention wrote into the residual stream and how that reaches the logits.

The parts of a layer are identified by their inputs and outputs, not by their names. A module that reads attention's
output and changes it is a norm after attention (Gemma 2 and 3, OLMo 2, GLM-4). What is added to the stream follows from
where the rest of the layer reads the sum or, in parallel layers, from the layer's output; it may be a multiple of
attention's output (Granite).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdprobe.errors import KdprobeError
from kdprobe.models.anatomy import Anatomy
from kdprobe.probing.outputs.held_norm import TOLERANCE, HeldNorm, held_norm

_ROUNDING = 1e-6
"""Rounding error of a float32 sum, relative to its largest entry."""


@dataclass(frozen=True)
class Written:
    """What a layer's attention wrote in some rows.

    Attributes:
        z: The heads' outputs before W_O, `[row, head, head_dim]`.
        attended: Attention's output, `[row, d_model]`.
        norm: The norm applied to it before it is added to the stream, or `None`.
        factor: The factor by which it is multiplied when it is added.
    """

    z: Tensor
    attended: Tensor
    norm: HeldNorm | None
    factor: float

    def back(self, direction: Tensor) -> Tensor:
        """Maps a direction on the stream to one on attention's output, both `[row, d_model]`."""
        return self.factor * (direction if self.norm is None else self.norm.back(direction))


@dataclass(frozen=True)
class Stream:
    """One pass, restricted to the answer's rows.

    Attributes:
        layers: What attention wrote, layer by layer.
        last: The last residual stream, `[row, d_model]`.
        norm: The norm after it.
        logits: The model's logits, `[row, V]`.
    """

    layers: list[Written]
    last: Tensor
    norm: HeldNorm
    logits: Tensor


def read_stream(model: Any, parts: Anatomy, ids: Tensor, rows: Tensor) -> Stream:
    """Reads a sequence.

    Args:
        model: The student.
        parts: Where its heads are.
        ids: Token ids, `[1, position]`.
        rows: The positions to record.

    Raises:
        KdprobeError: The place where attention enters the stream, or the final norm, is not found.
    """
    layers: list[Written] = []
    final: list[tuple[nn.Module, Tensor, Tensor]] = []
    z: list[Tensor] = []
    with ExitStack() as stack:

        def keep_z(_module: Any, positional: Any) -> None:
            z.append(positional[0][0].to(rows.device)[rows].unflatten(-1, (parts.heads, -1)))

        for index, layer in enumerate(parts.layers):
            children: list[_Call] = []
            listen = [(child, children.append) for child in layer.children()]

            def end(call: _Call, index: int = index, children: list[_Call] = children) -> None:
                layers.append(_written(parts.attentions[index], call, children, z[index], rows))
                children.clear()

            stack.callback(parts.outputs[index].register_forward_pre_hook(keep_z).remove)
            for module, tell in [*listen, (layer, end)]:
                stack.callback(_listen(module, tell, rows.device))
        last: list[Tensor] = []
        stack.callback(_listen(parts.layers[-1], lambda call: last.append(call.written), rows.device))

        def norm(call: _Call) -> None:
            if last and _same(call.read, last[-1]):
                final.append((call.module, call.read[rows], call.written[rows]))

        for sibling in _siblings(model, parts.layers[0]):
            stack.callback(_listen(sibling, norm, rows.device))
        logits = model(input_ids=ids, logits_to_keep=rows, use_cache=False).logits[0].float()
    held = held_norm(*final[0]) if final else None
    if held is None:
        raise _unknown(model, "the norm after the last layer was not found")
    return Stream(layers, final[0][1], held, logits)


@dataclass(frozen=True)
class _Call:
    """A module with its input and output, `[position, d_model]`."""

    module: nn.Module
    read: Tensor
    written: Tensor


def _listen(module: nn.Module, tell: Callable[[_Call], Any], device: torch.device) -> Callable[[], None]:
    """Records every call of a module that maps one stream to another, on one device; returns what stops it."""

    def hook(module: nn.Module, positional: Any, keyword: Any, output: Any) -> None:
        read = positional[0] if positional else keyword.get("hidden_states")
        written = output[0] if isinstance(output, tuple) else output
        if isinstance(read, Tensor) and isinstance(written, Tensor) and read.is_floating_point():
            # Copies, because some layers add in place. Some read all tokens of a batch in one row.
            tell(_Call(module, *(each.flatten(0, -2).to(device, copy=True) for each in (read, written))))

    return module.register_forward_hook(hook, with_kwargs=True).remove


def _written(attention: nn.Module, layer: _Call, children: list[_Call], z: Tensor, rows: Tensor) -> Written:
    attended = next(call.written for call in children if call.module is attention)
    norm, added = None, attended
    for call in children:
        if call.module is not attention and _same(call.read, attended) and not _same(call.written, attended):
            norm, added = held_norm(call.module, attended[rows], call.written[rows]), call.written
            if norm is None:
                raise _unknown(attention, "something other than a norm follows attention")
    others = [call for call in children if call.module is not attention]
    sums = [call.read - layer.read for call in others if call.read.shape == attended.shape]
    # In a parallel layer, nothing reads the sum with attention.
    sums += [layer.written - layer.read - call.written for call in others if call.written.shape == attended.shape]
    factors = [float((total * added).sum() / added.square().sum()) for total in sums]
    errors = [float((total - factor * added).abs().max()) for total, factor in zip(sums, factors, strict=True)]
    allowed = TOLERANCE * float(added.abs().max()) + _ROUNDING * float(layer.read.abs().max())
    fitting = [
        (error, factor)
        for error, factor in zip(errors, factors, strict=True)
        # A module before attention reads the stream without attention's output.
        if error <= allowed and abs(factor) > TOLERANCE
    ]
    if not fitting:
        raise _unknown(attention, "the place where attention is added to the residual stream was not found")
    return Written(z, attended[rows], norm, min(fitting)[1])


def _siblings(model: Any, layer: nn.Module) -> list[nn.Module]:
    """The modules next to the list of layers."""
    for module in model.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList) and any(member is layer for member in child):
                return [sibling for sibling in module.children() if sibling is not child]
    return []


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(torch.equal(first, second))


def _unknown(module: Any, reason: str) -> KdprobeError:
    kind = module.config.model_type
    return KdprobeError(
        f"kdprobe cannot attribute logits to heads in this architecture ({kind}): {reason}.",
        "Remove the analysis.",
    )
