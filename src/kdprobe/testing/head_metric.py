"""The contract of a head metric: one number per sequence and head, regardless of padding, and no overwritten input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from kdprobe.errors import first_line
from kdprobe.host.registry import Host
from kdprobe.host.specs import HeadMetricSpec
from kdprobe.testing.contract import ContractError, require

if TYPE_CHECKING:
    from torch import Tensor

    from kdprobe.probing.patterns.view import PatternView

_TOKENS = (5, 7, 9, 5, 7, 3, 9, 8)
_HEADS = 3
_PADDING = 2


def check_head_metric(host: Host, name: str, options: dict[str, Any] | None = None) -> None:
    """Measures random patterns of one layer: alone, padded on either side, and without what the metric does not need.

    Args:
        host: The host that provides it.
        name: The head metric.
        options: Its options, as in a config.

    Raises:
        ContractError: The metric fails, returns the wrong shape or NaN, changes with padding, overwrites the pattern,
            or reads what its `needs` do not list.
    """
    import torch

    needs = cast("HeadMetricSpec", host.get("head-metrics", name).spec).needs
    metric = host.create("head-metrics", name, options)
    plain = _view(0, 0, needs)
    before = plain.pattern.clone()
    values = _measured(metric, plain, name)
    require(
        torch.equal(plain.pattern, before),
        f"The head metric {name!r} overwrites the pattern, which other metrics read.",
    )
    require(
        bool(torch.isfinite(values).all()),
        f"The head metric {name!r} returns NaN although every query is valid: {values}.",
    )
    require(
        torch.equal(_measured(metric, _view(0, 0, needs), name), values),
        f"The head metric {name!r} measures the same pattern differently the second time.",
    )
    for side, padding in (("left", (_PADDING, 0)), ("right", (0, _PADDING))):
        padded = _measured(metric, _view(*padding, needs), name)
        require(
            torch.allclose(padded, values, atol=1e-5),
            f"The head metric {name!r} changes with padding on the {side}: use valid_queries and valid_keys.",
        )


def _measured(metric: Any, view: PatternView, name: str) -> Tensor:
    try:
        values: Tensor = metric(view)
    except Exception as error:
        raise ContractError(
            f"The head metric {name!r} raises {type(error).__name__} on a view with everything it needs: "
            f"{first_line(error)}"
        ) from error
    require(
        tuple(getattr(values, "shape", ())) == (1, _HEADS),
        f"The head metric {name!r} must return [batch, head], here [1, {_HEADS}].",
    )
    return values


def _view(left: int, right: int, needs: frozenset[str]) -> PatternView:
    """The second layer's view of one sequence, padded as given; its padded pattern rows hold garbage."""
    import torch
    from torch.nn.functional import pad

    from kdprobe.probing.patterns.view import PatternView

    random = torch.Generator().manual_seed(0)
    length = len(_TOKENS)
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    layers = torch.randn(2, 1, _HEADS, length, length, generator=random).masked_fill(hidden, -torch.inf).softmax(-1)
    below, pattern = pad(layers, (left, right, left, right))
    # What padded queries attend to is meaningless.
    pattern[..., :left, left], pattern[..., left + length :, left] = 0.7, 0.7
    valid = pad(torch.ones(1, length, dtype=torch.bool), (left, right))
    ranges = {"question": range(4), "numbers": range(1, 3), "answer": range(4, length)}
    spans = {
        key: torch.tensor([[i - left in positions for i in range(valid.shape[1])]]) for key, positions in ranges.items()
    }
    tokens = pad(torch.tensor([_TOKENS]), (left, right))
    return PatternView(
        pattern=pattern,
        below=below,
        tokens=tokens if "tokens" in needs else None,
        valid_queries=valid,
        valid_keys=valid,
        spans=spans if "spans" in needs else {},
        layer=1,
    )
