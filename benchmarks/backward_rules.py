"""Replaces the chain rule in the backward pass; the forward pass stays the same, bit for bit. For `screens.py`.

- RelP (Rezaei Jafari et al., 2025, arXiv 2508.21258) propagates relevance. It treats the scale of a norm, the ratio
  act(x) / x of an activation and attention patterns as constants, and gives each factor of a gated MLP half of the
  gradient.
- GIM (Edin et al., 2025, arXiv 2505.17630) looks past self-repair. It treats the scale of a norm as a constant, takes
  the gradient of attention's softmax at temperature 2, and divides the gradient of a product by the number of its
  factors: in gated MLPs, in patterns times values, and in queries times keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from kdprobe.errors import KdprobeError
from kdprobe.models.anatomy import Anatomy
from kdprobe.probing.outputs.held_norm import held_norm

_ACTIVATIONS = ("transformers.activations", "torch.nn.modules.activation")
_SOFTMAX = (functional.softmax, torch.softmax, torch.special.softmax, Tensor.softmax)


@dataclass(frozen=True)
class Rules:
    """How gradients are changed.

    Attributes:
        norms: Whether the scale of norms is constant.
        patterns: `constant`, or the temperature at which the gradient of attention's softmax is taken.
        activations: Whether the ratio of an activation's output to its input is constant.
        gates: Whether the factors of a gated MLP each get half of the gradient.
        attention: Whether the factors of products in attention do.
    """

    norms: bool = False
    patterns: float | Literal["constant"] = 1.0
    activations: bool = False
    gates: bool = False
    attention: bool = False


RELP = Rules(norms=True, patterns="constant", activations=True, gates=True)
GIM = Rules(norms=True, patterns=2.0, gates=True, attention=True)


@contextmanager
def backward_rules(model: Any, parts: Anatomy, rules: Rules) -> Iterator[None]:
    """While the block runs, gradients of forward passes in it follow these rules.

    Args:
        model: The model.
        parts: Where its layers and attention are.
        rules: The rules.

    Raises:
        KdprobeError: In the block, if a rule cannot be applied to a part of the model.
    """

    def unknown(part: str) -> KdprobeError:
        kind = model.config.model_type
        return KdprobeError(f"The rules do not cover {part} of this architecture ({kind}).", "Use plain gradients.")

    with ExitStack() as stack:
        if rules.norms:
            for norm in _norms(model):
                stack.callback(norm.register_forward_hook(_hold(unknown)).remove)
        if rules.gates or rules.activations:
            for layer in parts.layers:
                _change_mlp(stack, layer, rules, unknown)
        if rules.patterns != 1.0 or rules.attention:
            for attention in parts.attentions:
                stack.enter_context(_changed_patterns(attention, rules, unknown))
        if rules.attention:
            for projection in parts.outputs:
                stack.callback(projection.register_forward_pre_hook(lambda _module, read: _halved(read[0])).remove)
        yield


class _Replaced(torch.autograd.Function):
    """A value computed from another, with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, read: Tensor, written: Tensor, back: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG004
        ctx.back = back
        return written.view_as(written)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradients[0]), None, None


def _with_gradient(read: Tensor, written: Tensor, back: Callable[[Tensor], Tensor]) -> Tensor:
    """The value `written`, whose gradient passes to `read` through `back`."""
    replaced: Tensor = _Replaced.apply(read, written.detach(), back)
    return replaced


def _halved(value: Tensor) -> Tensor:
    """The same value, with half of its gradient."""
    return _with_gradient(value, value, lambda gradient: gradient / 2)


def _norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if "norm" in type(module).__name__.lower()]


def _hold(unknown: Callable[[str], KdprobeError]) -> Callable[[nn.Module, Any, Any], Tensor]:
    """A forward hook under which a norm's scale is a constant in the backward pass."""

    def hook(norm: nn.Module, positional: Any, written: Any) -> Tensor:
        read = positional[0].detach()
        held = held_norm(norm.forward, read.flatten(0, -2), written.detach().flatten(0, -2))
        if held is None:
            raise unknown(f"the norm {type(norm).__name__}")
        return _with_gradient(
            positional[0], written, lambda gradient: held.back(gradient.flatten(0, -2)).view_as(gradient)
        )

    return hook


@dataclass
class _Layer:
    """What has run in a layer so far.

    Attributes:
        activation: The output of an activation function that no projection has read yet.
        applied: Whether a projection has read one.
        written: The outputs of projections.
    """

    activation: Tensor | None = None
    applied: bool = False
    written: list[Tensor] = field(default_factory=list)

    def is_gated(self, read: Tensor) -> bool | None:
        """Whether a projection reads the activation times another projection's output; `None` if it reads neither."""
        if self.activation is None or read.shape != self.activation.shape:
            return None
        if torch.equal(read, self.activation):
            return False
        halves = [half for each in self.written for half in each.chunk(2, dim=-1)]
        others = [other for other in (*self.written, *halves) if other.shape == read.shape]
        return True if any(torch.equal(read, self.activation * other) for other in others) else None


def _change_mlp(stack: ExitStack, layer: nn.Module, rules: Rules, unknown: Callable[[str], KdprobeError]) -> None:
    """Changes activations of a layer, and the product of an activation and another projection."""
    seen = _Layer()

    def activate(_module: nn.Module, positional: Any, written: Tensor) -> Tensor | None:
        read = positional[0]
        changed = None
        if rules.activations:
            ratio = torch.where(read == 0, 0, written / read).detach()
            changed = _with_gradient(read, written, lambda gradient: gradient * ratio)
        seen.activation = (written if changed is None else changed).detach()
        return changed

    def enter(_module: nn.Module, positional: Any) -> Tensor | None:
        with torch.no_grad():
            gated = seen.is_gated(positional[0])
        if gated is None:
            return None
        seen.activation, seen.applied = None, True
        return _halved(positional[0]) if gated and rules.gates else None

    def keep(_module: nn.Module, _positional: Any, written: Tensor) -> None:
        seen.written.append(written.detach())

    def end(_module: nn.Module, _positional: Any, _written: Any) -> None:
        if not seen.applied or seen.activation is not None:
            raise unknown("the MLP")
        seen.applied = False
        seen.written.clear()

    for module in layer.modules():
        if type(module).__module__ in _ACTIVATIONS:
            stack.callback(module.register_forward_hook(activate).remove)
        elif isinstance(module, nn.Linear | Conv1D):
            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(keep).remove)
    stack.callback(layer.register_forward_hook(end).remove)


@contextmanager
def _changed_patterns(attention: nn.Module, rules: Rules, unknown: Callable[[str], KdprobeError]) -> Iterator[None]:
    """Changes the gradient of an attention module's softmax, fused or not."""
    original = attention.forward

    def forward(*positional: Any, **keyword: Any) -> Any:
        with _PatternMode(rules) as mode:
            output = original(*positional, **keyword)
        if not mode.changed:
            raise unknown("the attention")
        return output

    attention.forward = forward
    try:
        yield
    finally:
        attention.forward = original


class _PatternMode(TorchFunctionMode):
    """Replaces the gradient of softmax and of fused attention."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.rules = rules
        self.changed = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        written = func(*args, **(kwargs or {}))
        if func in _SOFTMAX:
            self.changed = True
            return _pattern(args[0], written, self.rules)
        if func is functional.scaled_dot_product_attention:
            self.changed = True
            unfused = _unfused(self.rules, *args, **(kwargs or {}))
            return _with_gradient(unfused, written, lambda gradient: gradient)
        return written


def _pattern(scores: Tensor, pattern: Tensor, rules: Rules) -> Tensor:
    """A pattern with the gradient that the rules give it, `[..., query, key]`."""
    if rules.patterns == "constant":
        return pattern.detach()
    warm = (scores.detach().float() / rules.patterns).softmax(dim=-1).to(pattern.dtype)
    share = 0.5 if rules.attention else 1.0

    def back(gradient: Tensor) -> Tensor:
        return share * warm * (gradient - (gradient * warm).sum(dim=-1, keepdim=True))

    return _with_gradient(scores, pattern, back)


def _unfused(  # noqa: PLR0917 - the signature of torch's function
    rules: Rules,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001 - there is none in evaluation
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What fused attention computes, step by step, `[..., query, value_dim]`."""
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (each.repeat_interleave(groups, dim=-3) for each in (key, value))
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        hidden = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if hidden else scores + attn_mask
    return _pattern(scores, scores.softmax(dim=-1), rules) @ value
