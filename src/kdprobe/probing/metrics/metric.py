"""The head metrics that plugins provide, ready to measure with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from kdprobe.host.specs import HeadMetricSpec

if TYPE_CHECKING:
    from torch import Tensor

    from kdprobe.host.registry import Host
    from kdprobe.probing.patterns.view import PatternView


@dataclass(frozen=True)
class HeadMetric:
    """A head metric with its description for tables and axes.

    Attributes:
        name: Its registered name.
        summary: What it is, in a few words.
        unit: The unit of its values; empty for a share.
        needs: What it reads besides the patterns (`tokens`, `spans`), and whether they must be `causal`.
        measure: From a view to `[batch, head]`.
    """

    name: str
    summary: str
    unit: str
    needs: frozenset[str]
    measure: Callable[[PatternView], Tensor]


def head_metrics_of(host: Host) -> dict[str, HeadMetric]:
    """Every head metric of a host by name, built with its default options."""
    metrics = {}
    for name, measure in host.all("head-metrics").items():
        spec = cast("HeadMetricSpec", host.get("head-metrics", name).spec)
        metrics[name] = HeadMetric(name, spec.summary, spec.unit, frozenset(spec.needs), measure)
    return metrics
