"""Heat maps of `priming_heads`: what priming does to each head beyond neutral texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdprobe.probing.analysis import Figure
from kdprobe.probing.figures import head_map, signed_maps
from kdprobe.probing.priming.heads.attending import DIVERGENCE, PRIMING
from kdprobe.probing.priming.heads.measured import PRIMED, PrimedHeads

_BEYOND = (
    "Value after priming minus value after neutral texts of the same length; mean over problems, one cell per head."
)


def figures(heads: Sequence[PrimedHeads]) -> list[Figure]:
    """Maps for all strategies that change the prompt; those of a kind share a colour scale."""
    primed = [each for each in heads if each.problems and not each.unprimed]
    controlled = [each for each in primed if each.controlled]
    return [
        *signed_maps(
            {
                f"Divergence of the teacher's attention, priming minus neutral text: {each.strategy}": _shown(
                    each, DIVERGENCE
                )
                for each in controlled
            },
            "nats",
            _BEYOND,
        ),
        *signed_maps(
            {
                f"The teacher's attention to the added text, priming minus neutral text: {each.strategy}": _shown(
                    each, PRIMING
                )
                for each in controlled
            },
            "share",
            _BEYOND,
        ),
        *(
            head_map(
                "Divergence of the teacher's attention after priming from that after the bare question: "
                f"{each.strategy}",
                each.mean(DIVERGENCE, PRIMED),
                "nats",
            )
            for each in primed
            if not each.controlled
        ),
    ]


def _shown(each: PrimedHeads, measure: str) -> np.ndarray:
    return each.beyond(measure).value
