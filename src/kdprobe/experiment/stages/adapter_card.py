"""The card of a student that has just been trained: what is known of it before it is tested."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdprobe.experiment.stages.context import StageContext
from kdprobe.host.registry import Host
from kdprobe.host.specs import DistillerSpec, ProblemSourceSpec
from kdprobe.models.merging.files import adapter_methods
from kdprobe.models.public_names import without_paths
from kdprobe.redaction import without_secrets
from kdprobe.students.card import Card


def adapter_card(context: StageContext, name: str, settings: Mapping[str, Any], adapter: Path) -> Card:
    """The card; a finished run's has the score as well.

    Args:
        context: The experiment.
        name: The student's name.
        settings: The settings of its training stage.
        adapter: The folder of its adapter.
    """
    dataset = dataset_of(context.host, context.experiment.problems.source)
    distiller, problems = settings["distiller"]["plugin"], context.experiment.problems
    libraries = settings["environment"]["libraries"].items()
    return Card(
        name=name,
        base=context.student,
        library="peft",
        methods=adapter_methods(adapter),
        training={
            "distiller": f"`{distiller}`",
            "options": json.dumps(without_paths(without_secrets(settings["options"]))),
            "seed": str(settings["seed"]),
            "trained on": f"up to {problems.transfer} problems from `{problems.source}`",
            "versions": ", ".join(f"{library} {version}" for library, version in libraries),
        },
        datasets=[dataset] if dataset else [],
        caution=caution_of(context.host, distiller),
    )


def caution_of(host: Host, distiller: str) -> str:
    """What everyone who sees a distiller's students must know; empty for most distillers."""
    spec = host.get("distillers", distiller).spec
    return spec.caution if isinstance(spec, DistillerSpec) else ""


def dataset_of(host: Host, source: str) -> str | None:
    """The id on the Hub of the data set that a problem source reads, if it declares one."""
    spec = host.get("problem-sources", source).spec
    return spec.dataset if isinstance(spec, ProblemSourceSpec) else None
