"""Sentences and JSON of `priming_gain`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdprobe.files import clean
from kdprobe.probing.priming.gain.measured import Gain, shown
from kdprobe.probing.priming.gain.tables import gain_rows
from kdprobe.stats.p_values import SIGNIFICANT, p_text
from kdprobe.stats.stratified_ranks import FEWEST_PROBLEMS
from kdprobe.words import counted


def statements(gains: Sequence[Gain], unprimed: str) -> list[str]:
    """What was read, and whether predicted and realised changes go together."""
    stated = {gain.name for gain in shown(gains)}
    rows = [row for row in gain_rows(gains, unprimed) if row["student"] in stated and row["measure"] == "value"]
    if not rows:
        counterpart = f"an unprimed counterpart ({unprimed}) with the same seed"
        return [f"No primed student has {counterpart}, so nothing can be compared."]
    problems, alone = rows[0]["problems"], rows[0]["problems_alone"]
    left_out = f" {_alone(alone)}" if alone else ""
    read_problems = "one test problem" if problems + alone == 1 else f"each of {problems + alone} test problems"
    read = (
        f"For {read_problems}, the predicted change is the teacher's "
        "log p(gold value) after the primed prompt minus that after the bare question, and the realised change is the "
        f"student's log p(gold value) minus that of {unprimed} with the same seed. Correlations are Spearman rank "
        f"correlations, computed {_units(rows[0]['templates'])}.{left_out} p is adjusted over all these correlations."
    )
    return [read, *(_sentence(row) for row in rows)]


def summary(gains: Sequence[Gain], unprimed: str) -> dict[str, Any]:
    """The table `priming_gain`, for JSON."""
    return {"unprimed": unprimed, "gains": clean(gain_rows(gains, unprimed))}


def _units(templates: int) -> str:
    if not templates:
        return "over problems"
    if templates == 1:
        return "within the only template with several problems"
    return f"within each of {templates} templates, with intervals over templates"


def _alone(count: int) -> str:
    if count == 1:
        return "One problem is the only one from its template and is left out of the correlations."
    return f"{count} problems are each the only one from their template and are left out of the correlations."


def _sentence(row: Mapping[str, Any]) -> str:
    seeds = f" (mean of {row['seeds']} seeds)" if row["seeds"] > 1 else ""
    changes = (
        f"{row['student']}{seeds}: the mean predicted change in log p(gold value) is {_mean(row, 'predicted')}, and "
        f"the mean realised change is {_mean(row, 'realised')}."
    )
    return f"{changes} {_association(row)}"


def _mean(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = f"{low:+.2f} to {high:+.2f}" if math.isfinite(low) else "no interval"
    return f"{row[name]:+.2f} nats ({interval})"


def _association(row: Mapping[str, Any]) -> str:
    if row["sees_gold"]:
        return (
            "The teacher's prompts depend on the gold solutions, so the teacher's log p(gold value) rises in any case; "
            "this rise predicts nothing and is not tested."
        )
    if row["missing"]:
        return _missing(row)
    found = (
        f"correlation {row['correlation']:.2f} ({row['low']:.2f} to {row['high']:.2f}), p = {p_text(row['p_adjusted'])}"
    )
    if row["p_adjusted"] > SIGNIFICANT:
        return f"There is no significant association between the two changes: {found}."
    direction = "more" if row["correlation"] > 0 else "less"
    return (
        f"Where priming raised the teacher's log p more, the student gained {direction}: {found}. This is an "
        "association and does not show causation."
    )


def _missing(row: Mapping[str, Any]) -> str:
    """Why there is no correlation, or no interval for it."""
    value, units, problems = row["correlation"], row["over"], row["problems"]
    if units == "templates":
        never_varies = "never varies within a template"
        all_but_one = "In all templates but one, the predicted or the realised change does not vary"
    else:
        never_varies = "is the same for all problems"
        all_but_one = "Apart from one problem, all problems have the same predicted or the same realised change"
    wanted = "a correlation" if math.isnan(value) else f"an interval for the correlation ({value:.2f})"
    return {
        "constant": f"Either the predicted or the realised change {never_varies}, so there is no correlation.",
        "few_problems": f"{counted(problems, 'problem')} {'is' if problems == 1 else 'are'} too few for {wanted}; at "
        f"least {FEWEST_PROBLEMS} are needed.",
        "few_templates": f"Only one template has several problems, which is too few for {wanted}.",
        "one_varies": f"{all_but_one}, which is too little variation for {wanted}.",
        "no_spread": f"Leaving out any one template does not change the correlation ({value:.2f}), so there is no "
        "interval for it.",
    }[row["missing"]]
