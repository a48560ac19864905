"""Exports a student as a plain Hugging Face model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.files import follow_umask
from kdprobe.models.adapters import resolve_adapter
from kdprobe.models.chatter import quiet
from kdprobe.models.load import LoadedModel, load
from kdprobe.models.merging.merge import sample_logits
from kdprobe.models.outline.device import concrete_dtype
from kdprobe.models.public_names import public_name, without_paths
from kdprobe.models.reference import Dtype, resolve
from kdprobe.students.card import CARD, Card, write_adapter_card
from kdprobe.students.student import Student

PROVENANCE = "kdprobe.json"
_TOLERANCE = 1e-3
"""Largest allowed change in a logit caused by writing and reading in float32."""


@dataclass(frozen=True)
class Exported:
    """An exported student.

    Attributes:
        folder: The folder of the model.
        dtype: The data type of its weights.
        logit_error: Largest difference between its logits and those of the merged student in float32.
        allowed: The allowed difference: a rounding error, plus in half precision twice the rounding error of the base.
    """

    folder: Path
    dtype: str
    logit_error: float
    allowed: float


def export(student: Student, folder: Path, *, dtype: Dtype = "auto", card: Card | None = None) -> Exported:
    """Writes base and adapter as one model, reads it back, and compares it with the student.

    Args:
        student: The student.
        folder: The folder to write to; it must be empty or not exist.
        dtype: Data type of the weights.
        card: The model card to write next to it.

    Raises:
        UsageError: The folder is not empty, the base is quantised, or the adapter cannot be merged.
        KdprobeError: The exported model does not reproduce the student's logits; it is removed.
    """
    refuse_occupied(folder)
    if student.base.is_packed:
        raise UsageError(
            f"The base of {student.name!r} is quantised ({student.base.quantisation}), so the student cannot be "
            "written as one model: quantising the sum of base and update would lose part of the update to rounding.",
            "Write only the adapter, with --adapter.",
        )
    # Merge in float32 and round once, rather than adding a rounded update to rounded weights.
    merged = student.load(dtype="float32")
    expected = sample_logits(merged)
    merged = replace(merged, dtype=concrete_dtype(dtype, merged.device.type))
    allowed = _TOLERANCE + 2 * _rounding(student, merged.dtype)
    merged.model.to(getattr(torch, merged.dtype))
    folder.mkdir(parents=True, exist_ok=True)
    with _removed_on_failure(folder):
        with quiet():
            merged.model.save_pretrained(folder)
            merged.tokenizer.save_pretrained(folder)
        provenance = {
            "student": without_paths(student.name),
            "run": card.run or None if card else None,
            "base": student.base.as_provenance() | {"name": public_name(student.base)},
            "adapter": _adapter_provenance(student),
            "dtype": merged.dtype,
            "caution": student.caution,
        }
        (folder / PROVENANCE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
        if card:
            (folder / CARD).write_text(card.text, encoding="utf-8")
        follow_umask(folder)
        error = float((sample_logits(_read_back(folder, merged)) - expected).abs().max())
        # Also true for NaN.
        if not error <= allowed:
            raise KdprobeError(
                f"The merged model's logits differ from the student's by {error:.2g} (allowed: {allowed:.2g}), "
                "so the merged model was removed.",
                "Ship base and adapter instead.",
            )
    return Exported(folder, merged.dtype, error, allowed)


def export_adapter(student: Student, folder: Path, card: Card) -> None:
    """Copies a student's adapter, with its model card and its tokens that end a turn.

    Raises:
        UsageError: The folder is not empty, or the student has no adapter.
    """
    if student.adapter is None:
        raise UsageError(f"The student {student.name!r} has no adapter.", "Use the base model itself.")
    refuse_occupied(folder)
    with _removed_on_failure(folder):
        shutil.copytree(student.adapter, folder, dirs_exist_ok=True)
        write_adapter_card(folder, card)
        follow_umask(folder)


def refuse_occupied(folder: Path) -> None:
    """Checks that a folder can be written.

    Raises:
        UsageError: It exists and is not an empty folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} already exists and is not an empty folder.", "Choose a new or empty folder.")


def _adapter_provenance(student: Student) -> dict[str, str] | None:
    """The adapter's folder, without its path, and its SHA-256."""
    if student.adapter is None:
        return None
    return {"folder": student.adapter.resolve().name, "digest": resolve_adapter(str(student.adapter)).digest}


def _read_back(folder: Path, merged: LoadedModel) -> LoadedModel:
    try:
        written = load(resolve(str(folder)), dtype=merged.dtype)
    except KdprobeError as error:
        # The architecture may have no parameters for some of what an adapter trains, such as biases.
        raise KdprobeError(
            f"The student cannot be written as a plain model. {error.message}", "Ship base and adapter instead."
        ) from error
    return replace(written, tokenizer=merged.tokenizer)


def _rounding(student: Student, dtype: Dtype) -> float:
    """The largest change in the base's logits when its weights are rounded."""
    if dtype == "float32":
        return 0.0
    exact, rounded = (sample_logits(load(student.base, dtype=each)) for each in ("float32", dtype))
    return float((rounded - exact).abs().max())


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder)
        raise
