"""The results of patching, as tables, figures and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kdprobe.probing.analysis import AnalysisResult
from kdprobe.probing.figures import signed_maps
from kdprobe.probing.interventions.ablation_report import NAMED, top_sentence
from kdprobe.probing.interventions.forward import TARGETS
from kdprobe.probing.interventions.gain import Gain, gain_table
from kdprobe.probing.interventions.random_control import control_figure, random_control
from kdprobe.probing.interventions.sweep import Array, Sign, Sweep
from kdprobe.probing.interventions.tables import effect_table, joined, selection_table, set_table
from kdprobe.probing.labels import head_label
from kdprobe.probing.tables import POOLED
from kdprobe.stats.bootstrap import Means, means_over_problems
from kdprobe.students.sequence import ProblemSequence


@dataclass(frozen=True)
class Patched:
    """Head outputs of one student patched into another.

    Attributes:
        trained: The trained student.
        source: The student whose head outputs were used: the trained or the first one.
        receiver: The student whose outputs were replaced.
        gain: What training gained.
        sign: The direction in which a head that carries gain moves the receiver.
        sweep: The results of the replacements.
    """

    trained: str
    source: str
    receiver: str
    gain: Gain
    sign: Sign
    sweep: Sweep

    @property
    def name(self) -> str:
        """The pair as text."""
        return f"{self.source} into {self.receiver}"

    def share(self, effects: Array) -> Means:
        """Effects as shares of the gain; what is taken away from the trained student counts as carried.

        Args:
            effects: `[problem, ..., target]`.
        """
        return self.gain.share((effects if self.source == self.trained else -effects)[None])


def patching_result(
    pairs: Sequence[Patched],
    first: str,
    gains: Mapping[str, Gain],
    sequences: Sequence[ProblemSequence],
    seed: int,
) -> AnalysisResult:
    """The result of the analysis.

    Args:
        pairs: The results of patching, by pair.
        first: The first student's name.
        gains: Each trained student's gain.
        sequences: The sequences that were read.
        seed: Of the bootstrap.
    """
    problems = [sequence.id for sequence in sequences]
    controls = {pair.name: random_control(pair.sweep, "top", pair.sign, seed) for pair in pairs}
    return AnalysisResult(
        tables={
            "patching": joined([_with_shares(pair, sequences, seed) for pair in pairs]),
            "patching_sets": joined(
                [set_table(pair.receiver, pair.sweep, seed).assign(source=pair.source) for pair in pairs]
            ),
            "patching_selection": joined(
                [selection_table(pair.receiver, pair.sweep.selection).assign(source=pair.source) for pair in pairs]
            ),
            "gain": joined([gain_table(name, first, gain, problems) for name, gain in gains.items()]),
        },
        figures=[
            *signed_maps(
                {
                    f"Patching each head (first-order estimate): {pair.name}": pair.sweep.screened[..., 0].mean(axis=0)
                    for pair in pairs
                },
                "nats",
            ),
            control_figure("Patching the top heads together, compared with random sets of the same size", controls),
        ],
        statements=[
            *(gain.sentence(name, first) for name, gain in gains.items()),
            pairs[0].sweep.selection.sentence(),
            *(f"{_sentence(pair, seed)} {top_sentence(controls[pair.name], pair.sweep)}" for pair in pairs),
        ],
        summary={"pairs": [_summary(pair) for pair in pairs]},
    )


def _with_shares(pair: Patched, sequences: Sequence[ProblemSequence], seed: int) -> pd.DataFrame:
    """The effects with their source and, over all problems, the share of the gain that each head carries."""
    table = effect_table(pair.receiver, pair.sweep, sequences, seed)
    table.insert(1, "source", pair.source)
    table[["share", "share_low", "share_high"]] = np.nan
    screened = pair.sweep.screened.reshape(len(sequences), -1, len(TARGETS))
    for method, effects in (("gradient", screened), ("exact", pair.sweep.exact)):
        share = pair.share(effects)
        for target, name in enumerate(TARGETS):
            # Rows of one method, target and problem are in the order of the heads.
            rows = (
                (table["method"] == method) & (table["metric"] == f"log_p_gold_{name}") & (table["problem"] == POOLED)
            )
            values = np.stack([part[:, target] for part in (share.value, share.low, share.high)], axis=1)
            table.loc[rows, ["share", "share_low", "share_high"]] = values
    return table


def _sentence(pair: Patched, seed: int) -> str:
    """Which heads carry most, and what all heads carry together."""
    effects = means_over_problems(pair.sweep.exact[..., 0], seed)
    shares = pair.share(pair.sweep.exact).value[:, 0]
    towards = pair.sign * pair.sweep.exact[..., 0]
    leading = pair.sweep.selection.leading(pair.sweep.heads, towards, NAMED)
    carrying = [index for index in leading if towards[:, index].mean() > 0]
    listed = "; ".join(
        f"{head_label(*pair.sweep.heads[index])} ({effects.value[index]:+.2f} nats"
        + (f", {effects.low[index]:+.2f} to {effects.high[index]:+.2f}" if np.isfinite(effects.low[index]) else "")
        + (f", {shares[index]:.0%} of the gain)" if np.isfinite(shares[index]) else ")")
        for index in carrying
    )
    all_heads = pair.sweep.together["every"]
    share = pair.share(all_heads).value[0]
    together = f"patching all heads changes log p by {float(all_heads[:, 0].mean()):+.2f} nats" + (
        f" ({share:.0%} of the gain)" if np.isfinite(share) else ""
    )
    largest = "head that shifts" if len(carrying) == 1 else "heads that shift"
    # Patched into the trained student, a head that carries gain takes it away.
    way = "in the direction of the gain" if pair.source == pair.trained else "against the gain"
    none = f"none of the heads whose effects were computed exactly shifts log p {way}"
    if (towards.mean(axis=0) > 0).any():
        none = f"the ranking of heads by how far they shift log p {way} depends on the problems: " + (
            f"of the heads that stay among the top {NAMED} whichever fold is left out, none shifts log p {way}"
            if leading
            else f"no head stays among the top {NAMED} whichever fold is left out"
        )
    most = f"the single {largest} log p most {way} {'is' if len(carrying) == 1 else 'are'} {listed}"
    return f"{pair.name}: {together}; {most if carrying else none}."


def _summary(pair: Patched) -> dict[str, Any]:
    """The gain, and the heads whose effects were computed exactly, those that carry most first."""
    effects = pair.sweep.exact[..., 0].mean(axis=0)
    shares = pair.share(pair.sweep.exact).value[:, 0]
    return {
        "source": pair.source,
        "receiver": pair.receiver,
        "gain": float(pair.gain.means.value[0]),
        "heads": [
            {
                "layer": pair.sweep.heads[index][0],
                "head": pair.sweep.heads[index][1],
                "effect": float(effects[index]),
                "share": float(shares[index]) if np.isfinite(shares[index]) else None,
            }
            for index in np.argsort(-pair.sign * effects, kind="stable")
        ],
    }
