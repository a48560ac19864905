"""The results of ablation, in sentences and for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdprobe.probing.interventions.options import AblationOptions
from kdprobe.probing.interventions.random_control import Control
from kdprobe.probing.interventions.sweep import Sweep
from kdprobe.probing.labels import head_label
from kdprobe.stats.bootstrap import means_over_problems
from kdprobe.words import counted

NAMED = 3
"""Heads named in a sentence."""
DIVERGENCE = "attention divergence"
Controls = Mapping[str, Mapping[str, Control]]
"""Each student's sets (`top`, and for trained students `moved`) and their comparison with random sets."""


def ablation_statements(
    sweeps: Mapping[str, Sweep], controls: Controls, options: AblationOptions, *, first: str, seed: int
) -> list[str]:
    """How it was done, and for each student the heads whose ablation lowers log p most, with the random control."""
    problems = len(next(iter(sweeps.values())).exact)
    replaced = "its mean output over the problems" if options.replacement == "mean" else "zero"
    how = (
        f"A head is replaced by {replaced}; its effect is the mean change in log p(gold solution) over "
        f"{counted(problems, 'problem')}. All heads are screened with a gradient-based estimate. "
        f"{_computed_exactly(sweeps, options, first)} {next(iter(sweeps.values())).selection.sentence()}"
    )
    if any("moved" in sweep.sets for sweep in sweeps.values()):
        how += f" Heads with the largest {DIVERGENCE} are selected by their attention, and tested, on all problems."
    sentences = [how]
    for name, sweep in sweeps.items():
        sentences.append(f"{name}: {_lowest(sweep, seed)} {top_sentence(controls[name]['top'], sweep)}")
        if "moved" in controls[name]:
            moved, control = sweep.sets["moved"], controls[name]["moved"]
            heads = "; ".join(head_label(*head) for head in moved[:NAMED]) + ("; ..." if len(moved) > NAMED else "")
            those = "head" if len(moved) == 1 else f"{len(moved)} heads"
            sentences.append(f"{name}: {control.sentence(f'the {those} with the largest {DIVERGENCE} ({heads})')}")
    return sentences


def _computed_exactly(sweeps: Mapping[str, Sweep], options: AblationOptions, first: str) -> str:
    """Which effects are exact."""
    if options.exact == "all":
        return "The effects of all heads are computed exactly."
    one = options.exact == 1
    heads = "head" if one else f"{options.exact} heads"
    top = f"the {heads} estimated to lower log p most when ablated"
    also = max((len(sweep.sets.get("moved", ())) for sweep in sweeps.values()), default=0)
    if not also:
        return f"The effect{'' if one else 's'} of {top} {'is' if one else 'are'} computed exactly."
    changed = f"the {'head' if also == 1 else f'{also} heads'} with the largest {DIVERGENCE}"
    return (
        f"The effects of {top}, and of {changed}, are computed exactly. A head's "
        f"{DIVERGENCE} is the Jensen-Shannon divergence of its pattern from that of the same head in {first!r}. "
        "Ranking heads by their change in entropy may give a different order."
    )


def ablation_summary(sweeps: Mapping[str, Sweep], controls: Controls) -> dict[str, Any]:
    """Each student's exact effects, lowest first, and each set with its random control."""
    return {
        "students": {
            name: {
                "heads": [
                    {"layer": layer, "head": head, "effect": float(effect)}
                    for effect, (layer, head) in sorted(zip(sweep.exact[..., 0].mean(axis=0), sweep.heads, strict=True))
                ],
                **{
                    kind: {
                        "effect": control.effect,
                        "problems": control.problems,
                        "random": control.random.tolist(),
                        "p": control.p if len(control.random) else None,
                    }
                    for kind, control in controls[name].items()
                },
            }
            for name, sweep in sweeps.items()
        }
    }


def top_sentence(control: Control, sweep: Sweep) -> str:
    """What the top heads do together, and whether random sets do as much."""
    those = "head that ranks" if control.heads == 1 else f"{control.heads} heads that rank"
    sentence = control.sentence(f"the {those} highest{' on the earlier folds' if sweep.selection.before else ''}")
    return sentence[0].upper() + sentence[1:]


def _lowest(sweep: Sweep, seed: int) -> str:
    """The heads whose ablation lowers log p most, whichever fold is left out, if their intervals exclude 0."""
    effects = means_over_problems(sweep.exact[..., 0], seed)
    has_interval = np.isfinite(effects.high)
    below = np.where(has_interval, effects.high, effects.value) < 0
    one = len(sweep.heads) == 1
    if not below.any():
        if one:
            return "the only effect that was computed exactly is not significantly below 0."
        return f"none of the {len(sweep.heads)} effects that were computed exactly is significantly below 0."
    moved = sweep.sets.get("moved", ())
    leading = sweep.selection.leading(sweep.heads, -sweep.exact[..., 0], NAMED, moved)
    lowest = [index for index in leading if below[index]]
    if not lowest:
        top = f"among the top {NAMED} whichever fold is left out"
        none = f"no head stays {top}"
        if leading:
            none = f"of the heads that stay {top}, none has an effect significantly below 0"
        return (
            f"the ranking of the {len(sweep.heads)} heads whose effects were computed exactly depends on the problems: "
            f"{none}."
        )
    listed = "; ".join(
        f"{head_label(*sweep.heads[index])} ({effects.value[index]:+.2f} nats"
        + (f", {effects.low[index]:+.2f} to {effects.high[index]:+.2f})" if has_interval[index] else ")")
        for index in lowest
    )
    if one:
        return f"ablating the head whose effect was computed exactly lowers log p: {listed}."
    most = "the one that lowers" if len(lowest) == 1 else "those that lower"
    be = "is" if len(lowest) == 1 else "are"
    return (
        f"of the {len(sweep.heads)} heads whose effects were computed exactly, {most} log p most when ablated {be} "
        f"{listed}."
    )
