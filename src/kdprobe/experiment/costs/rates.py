"""How long finished stages took, compared with what shapes predict: a factor for stages that are not like them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kdprobe.experiment.costs.devices import Devices
from kdprobe.experiment.costs.piece import Piece
from kdprobe.experiment.costs.stages import CostModel
from kdprobe.files import digest
from kdprobe.models.outline.device import machine


@dataclass(frozen=True)
class Rate:
    """A measured rate.

    Attributes:
        factor: Seconds per predicted second.
        basis: Number of finished stages.
    """

    factor: float
    basis: int


class Rates:
    """Rates of stages of one kind, with the same models, on the same kind of machine and device.

    Args:
        manifests: The manifests of finished stages.
        model: What predicts stages.
        devices: The devices of a stage of a kind with some settings, or `None` if they are unknown.
    """

    def __init__(
        self,
        manifests: Iterable[Mapping[str, Any]],
        model: CostModel,
        devices: Callable[[str, Mapping[str, Any]], Devices | None],
    ) -> None:
        self._finished: dict[str, list[tuple[float, float]]] = {}
        for manifest in manifests:
            kind, settings = manifest["kind"], manifest["settings"]
            if "units" not in manifest or manifest["resumed"] or "parts" in settings:
                continue
            piece = Piece(kind, settings, manifest["units"], follows=bool(manifest["inputs"]))
            held = devices(kind, settings)
            use = _of_its_budget(model, piece).use(piece, held) if held else None
            if use and use.runner:
                likeness = _likeness(piece, manifest["machine"])
                self._finished.setdefault(likeness, []).append((manifest["seconds"], use.seconds))

    def of(self, piece: Piece) -> Rate | None:
        """The rate of stages like this one, or `None` if none is finished."""
        alike = self._finished.get(_likeness(piece, machine()))
        if not alike:
            return None
        return Rate(sum(took for took, _ in alike) / sum(predicted for _, predicted in alike), len(alike))


def _likeness(piece: Piece, where: str) -> str:
    """A digest of what a rate depends on: work and models, but not sizes."""
    settings = piece.settings
    environment = settings.get("environment", {})
    named = [settings.get(name, {}).get("plugin") for name in ("distiller", "analysis", "plugin", "engine")]
    read = settings.get("teaching", {}).get("prompts", {}).get("bare", {})
    named.append(settings["task"]["name"] if piece.kind == "task" else None)
    about = settings.get("teacher") if piece.kind == "transfer" else read.get("teacher")
    teacher = [about.get(name) for name in ("teacher", "model", "dtype", "base_url")] if about else None
    dtype = settings.get("dtype", settings.get("protocol", {}).get("dtype"))
    reads = piece.kind == "transfer" and (piece.follows or settings["texts"] is not None)
    held = [where, environment.get("device"), environment.get("threads")]
    return digest([piece.kind, *held, named, teacher, settings.get("student"), dtype, reads])


def _of_its_budget(model: CostModel, piece: Piece) -> CostModel:
    """The model with answers that are no longer than the stage allowed."""
    if piece.kind == "transfer":
        return replace(model, answer=min(model.answer, piece.settings["sampling"]["max_new_tokens"]))
    if piece.kind == "evaluate":
        return replace(model, student_answer=min(model.student_answer, piece.settings["protocol"]["max_new_tokens"]))
    return model
