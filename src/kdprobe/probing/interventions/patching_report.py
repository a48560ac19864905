"""What patching found, as tables, figures and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.figures import signed_maps
from kdprobe.probing.interventions.figures import control_figure
from kdprobe.probing.interventions.forward import TARGETS
from kdprobe.probing.interventions.gain import Gain, gain_table
from kdprobe.probing.interventions.random_control import control
from kdprobe.probing.interventions.sweep import Array, Sign, Sweep
from kdprobe.probing.interventions.tables import effect_table, set_table
from kdprobe.probing.tables import POOLED
from kdprobe.stats.bootstrap import means_over_problems
from kdprobe.students.sequence import ProblemSequence

_NAMED = 3


@dataclass(frozen=True)
class Patched:
    """Head outputs of one student in another.

    Attributes:
        trained: The trained student.
        source: Whose head outputs were taken: its own, or the first student's.
        receiver: Whose were replaced.
        gain: What training gained.
        sign: The direction in which a head that carries gain moves the receiver.
        swept: What the replacements did.
    """

    trained: str
    source: str
    receiver: str
    gain: Gain
    sign: Sign
    swept: Sweep

    @property
    def name(self) -> str:
        """The pair in words."""
        return f"{self.source} into {self.receiver}"

    def towards_gain(self, effects: Array) -> Array:
        """Effects in the direction of the gain: what is taken from the trained student counts as carried, too."""
        return effects if self.source == self.trained else -effects


def patching_result(
    found: Sequence[Patched],
    first: str,
    gains: Mapping[str, Gain],
    context: AnalysisContext,
    sequences: Sequence[ProblemSequence],
) -> AnalysisResult:
    """Everything that the analysis returns."""
    problems = [sequence.id for sequence in sequences]
    controls = {one.name: control(one.swept, "top", one.sign, context.seed) for one in found}
    return AnalysisResult(
        tables={
            "patching": _joined([_with_shares(one, sequences, context.seed) for one in found]),
            "patching_sets": _joined(
                [set_table(one.receiver, one.swept, context.seed).assign(source=one.source) for one in found]
            ),
            "gain": _joined([gain_table(name, first, gain, problems) for name, gain in gains.items()]),
        },
        figures=[
            *signed_maps(
                {
                    f"Patching each head, to first order: {one.name}": one.swept.screened[..., 0].mean(axis=0)
                    for one in found
                },
                "nats",
            ),
            control_figure("Patching the top heads together, and random sets of as many", controls),
        ],
        statements=[
            *(gain.sentence(name, first) for name, gain in gains.items()),
            *(
                f"{_sentence(one, context.seed)} The first {controls[one.name].heads}: {controls[one.name].sentence()}"
                for one in found
            ),
        ],
        summary={"pairs": [_summary(one) for one in found]},
    )


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    table: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return table


def _with_shares(one: Patched, sequences: Sequence[ProblemSequence], seed: int) -> pd.DataFrame:
    """The effects with whose output was taken, and over all problems the share of the gain that each head carries."""
    table = effect_table(one.receiver, one.swept, sequences, seed)
    table.insert(1, "source", one.source)
    table[["share", "share_low", "share_high"]] = np.nan
    screened = one.swept.screened.reshape(len(sequences), -1, len(TARGETS))
    for method, effects in (("gradient", screened), ("exact", one.swept.exact)):
        share = one.gain.share(one.towards_gain(effects))
        for target, name in enumerate(TARGETS):
            # Rows of one method, target and problem are in the order of the heads.
            rows = (
                (table["method"] == method) & (table["metric"] == f"log_p_gold_{name}") & (table["problem"] == POOLED)
            )
            values = np.stack([part[:, target] for part in (share.value, share.low, share.high)], axis=1)
            table.loc[rows, ["share", "share_low", "share_high"]] = values
    return table


def _sentence(one: Patched, seed: int) -> str:
    """Which heads carry most, and what all together carry."""
    effects = means_over_problems(one.swept.exact[..., 0], seed)
    shares = one.gain.share(one.towards_gain(one.swept.exact)).value[:, 0]
    order = np.argsort(-one.sign * effects.value)[:_NAMED]
    carrying = [place for place in order if one.sign * effects.value[place] > 0]
    named = "; ".join(
        f"layer {layer}, head {head} ({effects.value[place]:+.2f}"
        + (f", {effects.low[place]:+.2f} to {effects.high[place]:+.2f}" if np.isfinite(effects.low[place]) else "")
        + (f", {shares[place]:.0%} of the gain)" if np.isfinite(shares[place]) else ")")
        for place in carrying
        for layer, head in [one.swept.heads[place]]
    )
    every = float(one.swept.together["every"][:, 0].mean())
    all_shares = one.gain.share(one.towards_gain(one.swept.together["every"])).value[0]
    whole = f"all heads together {every:+.2f} nats" + (
        f", {all_shares:.0%} of the gain" if np.isfinite(all_shares) else ""
    )
    lead = f"most of all {named}" if carrying else "no single head that was run moves it that way"
    return f"{one.name}: {whole}; {lead}."


def _summary(one: Patched) -> dict[str, Any]:
    """The gain, and the heads that were run exactly, those that carry most first."""
    effects = one.swept.exact[..., 0].mean(axis=0)
    shares = one.gain.share(one.towards_gain(one.swept.exact)).value[:, 0]
    return {
        "source": one.source,
        "receiver": one.receiver,
        "gain": float(one.gain.means.value[0]),
        "heads": [
            {
                "layer": one.swept.heads[place][0],
                "head": one.swept.heads[place][1],
                "effect": float(effects[place]),
                "share": float(shares[place]) if np.isfinite(shares[place]) else None,
            }
            for place in np.argsort(-one.sign * effects, kind="stable")
        ],
    }
