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
        return [f"No primed student has an unprimed one ({unprimed}) of the same seed, so nothing can be compared."]
    problems, alone = rows[0]["problems"], rows[0]["problems_alone"]
    left_out = f" {_alone(alone)}" if alone else ""
    read = (
        f"For each of {counted(problems + alone, 'test problem')}, the predicted change is the teacher's "
        "log p(gold value) after the primed prompt minus that after the bare question, and the realised change is the "
        f"student's log p(gold value) minus that of {unprimed} with the same seed. Correlations are "
        f"Spearman's {_units(rows[0]['templates'])}.{left_out} p is adjusted over all of them."
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
        return "One problem is alone in its template and does not count in them."
    return f"{count} problems are alone in their templates and do not count in them."


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
    if row["missing"]:
        return _missing(row)
    found = f"{row['correlation']:.2f} ({row['low']:.2f} to {row['high']:.2f}), p {p_text(row['p_adjusted'])}"
    if row["p_adjusted"] > SIGNIFICANT:
        return f"No association between the two is shown: {found}."
    direction = "more" if row["correlation"] > 0 else "less"
    return (
        f"Where priming raised the teacher's log p more, the student gained {direction}: {found}. This is an "
        "association, not a cause."
    )


def _missing(row: Mapping[str, Any]) -> str:
    """Why there is no correlation, or no interval of it."""
    value, units, problems = row["correlation"], row["over"], row["problems"]
    never_varies = "never varies within a template" if units == "templates" else "is the same for all problems"
    wanted = "a correlation" if math.isnan(value) else f"an interval of the correlation ({value:.2f})"
    return {
        "constant": f"One of the changes {never_varies}, so there is no correlation.",
        "few_problems": f"{counted(problems, 'problem')} {'is' if problems == 1 else 'are'} too few for {wanted}; at "
        f"least {FEWEST_PROBLEMS} are needed.",
        "few_templates": f"Only one template has several problems, which is too few for {wanted}.",
        "one_varies": f"Without one of the {units}, one of the changes {never_varies}: too few {units} vary for "
        f"{wanted}.",
        "no_spread": f"Leaving out any one template does not change the correlation ({value:.2f}), so there is no "
        "interval of it.",
    }[row["missing"]]
