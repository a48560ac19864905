"""Attention patterns from files: `.npz`, `.safetensors`, `.npy`, and folders of `.npy`. Pickles are never read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import UsageError
from kdprobe.probing.labels import head_label
from kdprobe.probing.patterns.arrays import HINT, arrays_of, assembled
from kdprobe.students.replicates import named_replicate

ROW_SUM_TOLERANCE = 0.02
"""How far a row may be from summing to one: patterns dumped in bfloat16 are off by up to 0.003."""


@dataclass(frozen=True)
class PatternFile:
    """One student's attention patterns on one prompt.

    Attributes:
        name: As the user calls it, or the file's name.
        file: Where it was read from.
        pattern: `[layer, head, query, key]`, float32, as it was dumped.
        arm: The student's arm; files of one arm differ by the seed of the training alone.
    """

    name: str
    file: Path
    pattern: NDArray[np.float32]
    arm: str


def read_patterns(arguments: Sequence[str]) -> list[PatternFile]:
    """Reads files or folders of patterns.

    Args:
        arguments: `PATH` or `NAME=PATH` each, as a command line has them; a name may be `ARM@SEED`.

    Raises:
        UsageError: One cannot be read, holds no patterns, or has another's name.
    """
    files = []
    for text in arguments:
        name, equals, path = text.partition("=")
        # A path may hold an equals sign itself.
        file = Path(path) if equals and not Path(text).exists() else Path(text)
        name = name if file != Path(text) else file.stem or file.name
        files.append(PatternFile(name, file, _read(file), arm=named_replicate(name)[0]))
    names = [file.name for file in files]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"Two files of patterns are called {repeated[0]!r}.", "Give them names: --patterns NAME=FILE.")
    return files


def _read(file: Path) -> NDArray[np.float32]:
    pattern = assembled(arrays_of(file), file)
    _refuse_wrong(pattern, file)
    return pattern


def _refuse_wrong(pattern: NDArray[np.float32], file: Path) -> None:
    """Raises if the array is not a valid attention pattern."""
    if not np.isfinite(pattern).all():
        raise UsageError(f"The patterns in {file} hold NaN or infinity.", HINT)
    if pattern.min() < 0:
        raise UsageError(f"The patterns in {file} hold negative weights.", HINT)
    errors = np.abs(pattern.sum(axis=-1, dtype=np.float64) - 1)
    if errors.max() > ROW_SUM_TOLERANCE:
        layer, head, query = (int(index) for index in np.unravel_index(errors.argmax(), errors.shape))
        raise UsageError(
            f"The patterns in {file} do not sum to one over keys: {head_label(layer, head)}, query {query} is off by "
            f"{errors.max():.2g}.",
            f"{HINT} Leave padding out.",
        )
