"""Sentences and JSON of `priming_gain`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdprobe.files import clean
from kdprobe.probing.priming.gain.measured import Gain, shown
from kdprobe.probing.priming.gain.tables import gain_rows
from kdprobe.stats.p_values import SIGNIFICANT, p_text
from kdprobe.words import counted


def statements(gains: Sequence[Gain], unprimed: str) -> list[str]:
    """What was read, and whether predicted and realised changes go together."""
    stated = {gain.name for gain in shown(gains)}
    rows = [row for row in gain_rows(gains, unprimed) if row["student"] in stated and row["measure"] == "value"]
    if not rows:
        return [f"No primed student has an unprimed one ({unprimed}) of the same seed, so nothing can be compared."]
    templates = rows[0]["templates"]
    within = f" within each of {templates} templates, with intervals over templates" if templates else " over problems"
    read = (
        f"For each of {counted(rows[0]['problems'], 'test problem')}, the predicted change is the teacher's "
        "log p(gold value) after the primed prompt minus that after the bare question, and the realised change is the "
        f"student's log p(gold value) minus that of {unprimed} with the same seed. Correlations are "
        f"Spearman's{within}. p is adjusted over all of them."
    )
    return [read, *(_sentence(row) for row in rows)]


def summary(gains: Sequence[Gain], unprimed: str) -> dict[str, Any]:
    """The table `priming_gain`, for JSON."""
    return {"unprimed": unprimed, "gains": clean(gain_rows(gains, unprimed))}


def _sentence(row: Mapping[str, Any]) -> str:
    seeds = f" (mean of {row['seeds']} seeds)" if row["seeds"] > 1 else ""
    changes = (
        f"{row['student']}{seeds}: mean change of log p(gold value) predicted {_mean(row, 'predicted')}, realised "
        f"{_mean(row, 'realised')}."
    )
    return f"{changes} {_association(row)}"


def _mean(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = f"{low:+.2f} to {high:+.2f}" if math.isfinite(low) else "no interval"
    return f"{row[name]:+.2f} nats ({interval})"


def _association(row: Mapping[str, Any]) -> str:
    if row["sees_gold"]:
        return (
            "The teacher's prompts depend on the gold solutions, so its log p(gold value) rises by itself; this "
            "predicts nothing and is not tested."
        )
    if math.isnan(row["correlation"]):
        return "One of the changes never varies within a template, so there is no correlation."
    if math.isnan(row["p_over_units"]):
        return f"The problems are too few for an interval of the correlation ({row['correlation']:.2f})."
    found = f"{row['correlation']:.2f} ({row['low']:.2f} to {row['high']:.2f}), p {p_text(row['p_adjusted'])}"
    if row["p_adjusted"] > SIGNIFICANT:
        return f"No association between the two is shown: {found}."
    direction = "more" if row["correlation"] > 0 else "less"
    return (
        f"Where priming raised the teacher's log p more, the student gained {direction}: {found}. This is an "
        "association, not a cause."
    )
