"""Compares heads replaced together with random sets of the same size."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from kdprobe.probing.analysis import Figure
from kdprobe.probing.interventions.sweep import Array, Sign, Sweep
from kdprobe.stats.bootstrap import means_over_problems
from kdprobe.stats.p_values import SIGNIFICANT, as_large, p_text
from kdprobe.words import counted


@dataclass(frozen=True)
class Control:
    """Effects on the log-probability of the gold solution, means over problems, in nats.

    Attributes:
        heads: The number of heads in a set.
        effect: The effect of these heads together.
        low: Lower end of its 95% interval over problems; NaN for one problem.
        high: Upper end.
        random: Effects of the random sets, `[set]`, in nats.
        as_large: How many random sets have at least as large an effect in the direction of `sign`.
        p: Share of sets, including this one, whose effect is at least as large; NaN without random sets.
        problems: The number of problems.
        sign: The direction in which effects are large.
    """

    heads: int
    effect: float
    low: float
    high: float
    random: Array
    as_large: int
    p: float
    problems: int
    sign: Sign

    @property
    def stands_out(self) -> bool:
        """Whether random sets rarely have as large an effect."""
        return self.p <= SIGNIFICANT

    def sentence(self, which: str) -> str:
        """What replacing the chosen heads does, and how they compare with the random sets; begins in lower case.

        Args:
            which: The chosen heads, in words.
        """
        interval = f" ({self.low:+.2f} to {self.high:+.2f})" if np.isfinite(self.low) else ""
        done = f"replacing {which} changes" if self.heads == 1 else f"replaced together, {which} change"
        over = f"on average over {self.problems} problems" if self.problems > 1 else "on one problem"
        effect = f"{done} log p by {self.effect:+.2f} nats{interval} {over}"
        if not len(self.random):
            return f"{effect}."
        sets = f"{counted(len(self.random), 'random set')} of {counted(self.heads, 'head')}"
        drawn = (
            f"The effect of {sets} is {self.random[0]:+.2f}"
            if len(self.random) == 1
            else f"The effects of {sets} have a median of {np.median(self.random):+.2f} and range from "
            f"{self.random.min():+.2f} to {self.random.max():+.2f}"
        )
        of_them = {0: "none is", 1: "1 of them is at least"}.get(self.as_large, f"{self.as_large} of them are at least")
        extreme = "high" if self.sign > 0 else "low"
        is_large = f"; {of_them} as {extreme}"
        if len(self.random) == 1:
            is_large = f", which is {'at least' if self.as_large else 'not'} as {extreme}"
        usual = ", so this head does not stand out" if self.heads == 1 else ", so these heads do not stand out"
        standing = "" if self.stands_out or self.as_large == 0 else usual
        least = f", the smallest that {counted(len(self.random), 'random set')} can give" if self.as_large == 0 else ""
        return f"{effect}. {drawn}{is_large}{standing} (p = {p_text(self.p)}{least})."


def random_control(sweep: Sweep, kind: str, sign: Sign, seed: int) -> Control:
    """Compares one of a sweep's sets with the random sets; `sign` is the direction in which an effect is large."""
    chosen, drawn = (effects[..., 0] for effects in sweep.compared(kind))
    means = means_over_problems(chosen, seed)
    random = drawn.mean(axis=0)
    effect = float(means.value)
    count, p = as_large(sign * effect, sign * random)
    return Control(
        len(sweep.sets[kind]), effect, float(means.low), float(means.high), random, count, p, len(chosen), sign
    )


def control_figure(title: str, controls: Mapping[str, Control]) -> Figure:
    """Effects of random sets as points and those of the chosen heads as diamonds, one row per student."""
    figure = go.Figure()
    names = list(controls)
    random = [(value, name) for name, control in controls.items() for value in control.random.tolist()]
    figure.add_scatter(
        x=[value for value, _ in random],
        y=[names.index(name) for _, name in random],
        mode="markers",
        marker={"opacity": 0.5},
        name="random sets",
    )
    figure.add_scatter(
        x=[control.effect for control in controls.values()],
        y=list(range(len(names))),
        mode="markers",
        marker={"size": 12, "symbol": "diamond"},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [control.high - control.effect for control in controls.values()],
            "arrayminus": [control.effect - control.low for control in controls.values()],
        },
        name="chosen heads",
    )
    figure.update_layout(
        xaxis_title="change in log p(gold solution), nats",
        yaxis={
            "tickvals": list(range(len(names))),
            "ticktext": [html.escape(name) for name in names],
            "automargin": True,
        },
    )
    caption = "Sets of the same number of heads, replaced together; the interval is over problems."
    return Figure(title, caption, figure.to_plotly_json())
