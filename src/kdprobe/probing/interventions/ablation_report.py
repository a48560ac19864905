"""What ablation found, in sentences and for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdprobe.probing.interventions.options import AblationOptions
from kdprobe.probing.interventions.random_control import Control
from kdprobe.probing.interventions.sweep import Sweep
from kdprobe.stats.bootstrap import means_over_problems

_NAMED = 3
Controls = Mapping[str, Mapping[str, Control]]
"""Student to set (`top`, and of trained ones `moved`) to how it compares with random ones."""


def ablation_statements(
    swept: Mapping[str, Sweep], controls: Controls, options: AblationOptions, seed: int
) -> list[str]:
    """How it was done, and per student the heads that cost most, together with the random control."""
    problems = len(next(iter(swept.values())).exact)
    replaced = "its mean output over the problems" if options.replacement == "mean" else "nothing"
    how = (
        f"A head is replaced by {replaced}; its effect is the change of log p(gold solution) over {problems} "
        "problems. All are screened by gradient, the first run exactly. Which come first was seen on the same problems."
    )
    sentences = [how]
    for name, one in swept.items():
        top = f"The first {controls[name]['top'].heads} {controls[name]['top'].sentence()}"
        sentences.append(f"{name}: {_costly(one, seed)} {top}")
        if "moved" in controls[name]:
            moved, effect = one.sets["moved"], controls[name]["moved"]
            heads = "; ".join(f"layer {layer}, head {head}" for layer, head in moved[:_NAMED])
            whose = f"the {len(moved)} heads whose attention moved most (first {heads})"
            sentences.append(f"{name}: {whose} {effect.sentence()}")
    return sentences


def ablation_summary(swept: Mapping[str, Sweep], controls: Controls) -> dict[str, Any]:
    """Per student the exact effects, the costliest head first, and each set with its random control."""
    return {
        "students": {
            name: {
                "heads": [
                    {"layer": layer, "head": head, "effect": float(effect)}
                    for effect, (layer, head) in sorted(zip(one.exact[..., 0].mean(axis=0), one.heads, strict=True))
                ],
                "random": one.random[..., 0].mean(axis=0).tolist(),
                **{kind: {"effect": found.effect, "p": found.p} for kind, found in controls[name].items()},
            }
            for name, one in swept.items()
        }
    }


def _costly(one: Sweep, seed: int) -> str:
    """The heads whose loss costs most, beyond their intervals."""
    effects = means_over_problems(one.exact[..., 0], seed)
    known = np.isfinite(effects.high)
    costs = np.where(known, effects.high, effects.value) < 0
    named = "; ".join(
        f"layer {layer}, head {head} ({effects.value[place]:+.2f} nats"
        + (f", {effects.low[place]:+.2f} to {effects.high[place]:+.2f})" if known[place] else ")")
        for place in np.argsort(effects.value)[:_NAMED]
        if costs[place]
        for layer, head in [one.heads[place]]
    )
    if not named:
        return f"none of the {len(one.heads)} heads that were run exactly costs anything beyond its interval."
    return f"of {len(one.heads)} heads that were run exactly, those that cost most are {named}."
