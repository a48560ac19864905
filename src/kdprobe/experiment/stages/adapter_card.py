"""The card of a student that has just been trained: what is known of it before it is tested."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kdprobe.experiment.stages.context import StageContext
from kdprobe.host.registry import Host
from kdprobe.host.specs import DistillerSpec
from kdprobe.students.card import Card


def adapter_card(context: StageContext, name: str, settings: Mapping[str, Any]) -> Card:
    """The card; a finished run's has the score as well.

    Args:
        context: The experiment.
        name: The student's name.
        settings: The settings of its training stage.
    """
    distiller, problems = settings["distiller"]["plugin"], context.experiment.problems
    libraries = settings["environment"]["libraries"].items()
    return Card(
        name=name,
        base=context.student,
        library="peft",
        training={
            "distiller": f"`{distiller}`",
            "options": json.dumps(settings["options"]),
            "seed": str(settings["seed"]),
            "trained on": f"up to {problems.transfer} problems of `{problems.source}`",
            "versions": ", ".join(f"{library} {version}" for library, version in libraries),
        },
        caution=caution_of(context.host, distiller),
    )


def caution_of(host: Host, distiller: str) -> str:
    """What everyone who sees a distiller's students must know; empty for most distillers."""
    spec = host.get("distillers", distiller).spec
    return spec.caution if isinstance(spec, DistillerSpec) else ""
