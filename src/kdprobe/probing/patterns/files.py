"""Attention patterns from files: `.npz`, `.safetensors`, `.npy`, and folders of `.npy`. Pickles are never loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import UsageError, first_line
from kdprobe.probing.labels import head_label
from kdprobe.probing.patterns.arrays import HINT, arrays_of, assembled
from kdprobe.students.replicates import named_replicate

ROW_SUM_TOLERANCE = 0.02
"""How far a row may be from summing to one: patterns dumped in bfloat16 are off by up to 0.003."""


@dataclass(frozen=True)
class PatternFile:
    """One student's attention patterns on one prompt.

    Attributes:
        name: The user's name for it, or the file's name.
        file: Where it was read from, or `None`.
        pattern: `[layer, head, query, key]`, float32, as dumped.
        arm: The student's arm; files of one arm differ only by the training seed.
    """

    name: str
    file: Path | None
    pattern: NDArray[np.float32]
    arm: str


Patterns = Mapping[str, str | os.PathLike[str] | NDArray[np.floating]] | Sequence[str]
"""A mapping of names to files or arrays, or a list of `PATH` and `NAME=PATH` as on the command line."""


def read_patterns(arguments: Patterns) -> list[PatternFile]:
    """Reads files or folders of patterns.

    Args:
        arguments: A mapping of names to files, folders or arrays, or a list of `PATH` or `NAME=PATH`; a name may be
            `ARM@SEED`. An array is `[layer, head, query, key]`.

    Raises:
        UsageError: One cannot be read, contains no patterns, or has the same name as another.
    """
    if isinstance(arguments, str):
        raise UsageError("The patterns are a single string.", "Pass a list of paths, or a dict of names to files.")
    named = arguments.items() if isinstance(arguments, Mapping) else map(_named, arguments)
    files = [_pattern_file(name, given) for name, given in named]
    names = [file.name for file in files]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"Two pattern files are both called {repeated[0]!r}.", "Name them: --patterns NAME=FILE.")
    return files


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    # A path may itself contain an equals sign.
    file = Path(path) if equals and not Path(text).exists() else Path(text)
    return name if file != Path(text) else file.stem or file.name, file


def _pattern_file(name: str, given: str | os.PathLike[str] | NDArray[np.floating]) -> PatternFile:
    file = Path(given) if isinstance(given, str | os.PathLike) else None
    called = file or Path(name)
    pattern = assembled(arrays_of(file) if file else {name: _array(given, name)}, called)
    _refuse_wrong(pattern, called)
    return PatternFile(name, file, pattern, arm=named_replicate(name)[0])


def _array(given: object, name: str) -> NDArray[np.floating]:
    """Converts any array to a numpy array."""
    try:
        return np.asarray(given)
    except Exception as error:
        # A tensor must be on the CPU and without gradients, as its own message explains.
        raise UsageError(f"The patterns {name!r} are not an array: {first_line(error)}", HINT) from error


def _refuse_wrong(pattern: NDArray[np.float32], file: Path) -> None:
    """Raises if the array is not a valid attention pattern."""
    if not np.isfinite(pattern).all():
        raise UsageError(f"The patterns in {file} contain NaN or infinity.", HINT)
    if pattern.min() < 0:
        raise UsageError(f"The patterns in {file} contain negative weights.", HINT)
    errors = np.abs(pattern.sum(axis=-1, dtype=np.float64) - 1)
    if errors.max() > ROW_SUM_TOLERANCE:
        layer, head, query = (int(index) for index in np.unravel_index(errors.argmax(), errors.shape))
        raise UsageError(
            f"The patterns in {file} do not sum to one over keys: {head_label(layer, head)}, query {query} is off by "
            f"{errors.max():.2g}.",
            f"{HINT} Omit padding.",
        )
