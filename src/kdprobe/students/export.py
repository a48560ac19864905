"""Writing a student as a plain Hugging Face model."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.files import follow_umask
from kdprobe.models.conversation import prompt_ids
from kdprobe.models.load import LoadedModel, concrete_dtype, load, quiet
from kdprobe.models.reference import Dtype
from kdprobe.students.student import Student

PROVENANCE = "kdprobe.json"
_QUESTION = "Tom has 3 apples and buys 4 more. How many apples has he?"
_TOLERANCE = 1e-3
"""Largest difference of a logit that merging in float32 may make."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: The model.
        dtype: Of its weights.
        logit_error: Largest difference between its logits and those of base and adapter side by side, in float32.
        allowed: What it may be: rounding, or in half precision twice what rounding does to the base alone.
    """

    folder: Path
    dtype: str
    logit_error: float
    allowed: float


def export(student: Student, folder: Path, *, dtype: Dtype = "auto") -> Exported:
    """Writes base and adapter as one model, reads it back, and compares it with the two side by side.

    Args:
        student: The student.
        folder: Where to; must not exist, or be empty.
        dtype: Data type of the weights.

    Raises:
        UsageError: There is something in the folder already.
        KdprobeError: What was written does not give the student's logits; it is removed, as
            after any other failure.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"There is something at {folder} already.", "Give a folder that is new or empty.")
    # Merged in float32 and rounded once, not a rounded update added to rounded weights.
    merged = student.load(dtype="float32")
    merged = replace(merged, dtype=concrete_dtype(dtype, merged.device.type))
    expected, allowed = _side_by_side(student, merged.dtype)
    merged.model.to(getattr(torch, merged.dtype))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _write(student, merged, folder)
        error = _difference(folder, merged, expected, allowed)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return Exported(folder, merged.dtype, error, allowed)


def _write(student: Student, merged: LoadedModel, folder: Path) -> None:
    with quiet():
        merged.model.save_pretrained(folder)
        merged.tokenizer.save_pretrained(folder)
    provenance = {
        "student": student.name,
        "base": student.base.as_provenance(),
        "dtype": merged.dtype,
        "caution": student.caution,
    }
    (folder / PROVENANCE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    follow_umask(folder)


def _difference(folder: Path, merged: LoadedModel, expected: torch.Tensor, allowed: float) -> float:
    """How far the logits of what was written are from the student's, at most."""
    error = float((_logits(_read_back(folder, merged)) - expected).abs().max())
    if not error <= allowed:
        raise KdprobeError(
            f"The merged model's logits differ from the student's by {error:.2g} (allowed: {allowed:.2g}), "
            "so it was removed.",
            "Ship base and adapter instead.",
        )
    return error


def _side_by_side(student: Student, dtype: Dtype) -> tuple[torch.Tensor, float]:
    """The student's logits in float32, and how far a merged model's may be from them."""
    base = load(student.base, dtype="float32")
    expected = _logits(base)
    allowed = _TOLERANCE
    if dtype != "float32":
        rounded = _logits(load(student.base, dtype=dtype))
        allowed += 2 * float((rounded - expected).abs().max())
    if student.adapter is None:
        return expected, allowed
    from peft import PeftModel

    with quiet():
        model = PeftModel.from_pretrained(base.model, student.adapter).eval()
    return _logits(replace(base, model=model)), allowed


def _read_back(folder: Path, merged: LoadedModel) -> LoadedModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, merged.dtype), use_safetensors=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return LoadedModel(model.to(merged.device).eval(), tokenizer, merged.record, merged.dtype)


def _logits(loaded: LoadedModel) -> torch.Tensor:
    """Logits of a short conversation, `[tokens, V]`, float32."""
    ids = torch.tensor([prompt_ids(loaded.tokenizer, [{"role": "user", "content": _QUESTION}])], device=loaded.device)
    with torch.inference_mode():
        logits: torch.Tensor = loaded.model(input_ids=ids, use_cache=False).logits[0].float()
    return logits
