"""Model cards of a run's students."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from kdprobe.comparison.samples.by_problem import interval_over_problems
from kdprobe.experiment.arm_names import BARE
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.results import Results
from kdprobe.files import without_none
from kdprobe.models.merging.files import adapter_methods
from kdprobe.models.public_names import without_paths
from kdprobe.models.reference import ModelRecord
from kdprobe.students.card import Card, Score

_DECIDING = "robust"
_LIBRARIES = ("kdprobe", "torch", "transformers", "peft")


def run_card(results: Results, arm: ArmResults, base: ModelRecord, library: Literal["peft", "transformers"]) -> Card:
    """The card of a student of a finished run, with its score and the config needed to reproduce the run.

    Args:
        results: The run.
        arm: The student's arm.
        base: The base model.
        library: What loads the student: `peft` for an adapter, `transformers` for a merged model.
    """
    import tomlkit

    config = without_paths(without_none(results.record["config"]))
    source = config["problems"]["source"]
    # Runs of earlier versions do not have it.
    dataset = results.record.get("dataset")
    right = np.array([bool(record["correct"]) for record in arm.records])
    correct, n = int(right.sum()), len(right)
    score = None
    if n:
        samples = 1 + max(record.get("sample", 0) for record in arm.records)
        problems = [record["id"] for record in arm.records] if samples > 1 else None
        interval = interval_over_problems(right, problems)
        score = Score(source, dataset, correct, n, interval.low, interval.high, _DECIDING, samples)
    return Card(
        name=f"{results.run}/{arm.name}",
        base=base,
        library=library,
        methods=adapter_methods(arm.adapter) if arm.adapter else (),
        training=training_facts(config, arm=arm, libraries=_versions(results.record["environment"])),
        datasets=(dataset,) if dataset and arm.training else (),
        caution=" ".join(results.record.get("cautions", [])),
        score=score,
        run=results.run,
        config=tomlkit.dumps(config),
    )


def training_facts(config: Mapping[str, Any], *, arm: ArmResults, libraries: Mapping[str, str]) -> dict[str, str]:
    """How a student was trained, a row for each fact.

    Args:
        config: The run's config, without local paths.
        arm: The student's arm.
        libraries: Library mapped to version.
    """
    problems, teacher = config["problems"], config["teacher"]
    facts = {}
    if arm.distiller:
        section = config["distill"] if arm.strategy else {"options": config["controls"]["fine_tune_options"]}
        facts["distiller"] = _call(arm.distiller, section["options"])
        facts["seed"] = str(arm.seed)
    if arm.strategy:
        facts["teacher"] = _call(teacher["name"], teacher["options"])
        facts["prompt strategy"] = _strategy(arm)
    if arm.distiller:
        kept = f"; {len(arm.kept)} of the answers were kept" if arm.kept is not None else ""
        facts["trained on"] = (
            f"{problems['transfer']} problems from {_call(problems['source'], problems['options'])}{kept}"
        )
    if arm.training and arm.training.get("relative_change") is not None:
        facts["relative change in the adapted weights"] = f"{arm.training['relative_change']:.2g}"
    facts["versions"] = ", ".join(f"{name} {libraries[name]}" for name in _LIBRARIES if name in libraries)
    return facts


def _strategy(arm: ArmResults) -> str:
    """The strategy that taught an arm, with its label in the run if that says something else."""
    label = str(arm.strategy)
    named = label if arm.strategy_name in {None, label, BARE} else f"{arm.strategy_name}, labelled {label}"
    return f"{named}, without priming" if arm.unprimed else named


def _versions(environment: Mapping[str, Any]) -> dict[str, str]:
    return {"kdprobe": environment["kdprobe"], **environment["libraries"]}


def _call(name: str, options: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{key} = {value}" for key, value in options.items())
    return f"`{name}` ({settings})" if settings else f"`{name}`"
