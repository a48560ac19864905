"""Attention patterns from files: `.npz`, `.safetensors`, `.npy`, and folders of them. Pickles are never loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import UsageError, first_line
from kdprobe.probing.patterns.containers import HINT, arrays_of, plain
from kdprobe.probing.patterns.names import axes_in
from kdprobe.probing.patterns.prompts import PromptPatterns, prompts_of
from kdprobe.students.replicates import named_replicate

_DIGITS = re.compile(r"(\d+)")
_WHOLE = 4
"""Axes of an array of all layers, or of one layer and several prompts."""


@dataclass(frozen=True)
class PatternFile:
    """One student's attention patterns, on one or several prompts.

    Attributes:
        name: The user's name for it, or the file's name.
        file: The file or folder it was read from, or `None`.
        prompts: The patterns on each prompt, all with the same layers and heads.
        arm: The student's arm; files of one arm differ only by the training seed.
    """

    name: str
    file: Path | None
    prompts: tuple[PromptPatterns, ...]
    arm: str

    @property
    def heads(self) -> tuple[int, int]:
        """The number of layers, and of heads per layer."""
        layers, heads = self.prompts[0].pattern.shape[:2]
        return layers, heads

    @property
    def offers(self) -> frozenset[str]:
        """What head metrics may need and these patterns have: `tokens`, `causal`."""
        offered = {"tokens": all(prompt.tokens is not None for prompt in self.prompts)}
        offered["causal"] = all(prompt.causal for prompt in self.prompts)
        return frozenset(name for name, present in offered.items() if present)

    def reads_like(self, other: PatternFile) -> bool:
        """Whether both have the same layers, heads and prompts, as far as the files say."""
        return (
            self.heads == other.heads
            and len(self.prompts) == len(other.prompts)
            and all(map(PromptPatterns.reads_like, self.prompts, other.prompts))
        )


Patterns = Mapping[str, Any] | Sequence[str]
"""A mapping of names to files or arrays, or a list of `PATH` and `NAME=PATH` as on the command line."""


def read_patterns(arguments: Patterns) -> list[PatternFile]:
    """Reads files or folders of patterns.

    Args:
        arguments: A mapping of names to files, folders, arrays or what a model returns as `attentions`; or a list of
            `PATH` or `NAME=PATH`; a name may be `ARM@SEED`.

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


def _pattern_file(name: str, given: Any) -> PatternFile:
    file = Path(given) if isinstance(given, str | os.PathLike) else None
    prompts = _read(file) if file else prompts_of(_arrays(given, name), Path(name))
    shapes = {prompt.pattern.shape[:2] for prompt in prompts}
    if len(shapes) > 1:
        sizes = ", ".join(f"{layers} x {heads}" for layers, heads in sorted(shapes))
        raise UsageError(
            f"The patterns in {name} differ in their number of layers or heads from prompt to prompt ({sizes}).", HINT
        )
    return PatternFile(name, file, tuple(prompts), arm=named_replicate(name)[0])


def _read(file: Path) -> list[PromptPatterns]:
    """The prompts of a file or folder; in a folder, each file holds a prompt, a batch, a layer, a head or a step."""
    archives = [*file.rglob("*.npz"), *file.rglob("*.safetensors")] if file.is_dir() else []
    if not archives:
        return prompts_of(arrays_of(file), file)
    if next(file.rglob("*.npy"), None):
        raise UsageError(f"{file} contains .npy files and others.", "Save all patterns of a student in one format.")
    files = {each: str(each.relative_to(file).with_suffix("")) for each in archives}
    stems = sorted(files.values(), key=_by_number)
    if repeated := [stem for stem, following in pairwise(stems) if stem == following]:
        raise UsageError(f"{file} contains two files called {repeated[0]!r}.", "Keep one of them.")
    arrays = {stem: arrays_of(each) for each, stem in files.items()}
    if any(axes_in(stem) - {"prompt"} for stem in stems):
        return prompts_of({f"{stem}/{key}": arrays[stem][key] for stem in stems for key in arrays[stem]}, file)
    read = {stem: prompts_of(arrays[stem], file / stem) for stem in stems}
    return [
        prompt.named(stem if len(prompts) == 1 else f"{stem} {prompt.name}")
        for stem, prompts in read.items()
        for prompt in prompts
    ]


def _by_number(stem: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in _DIGITS.split(stem)]


def _arrays(given: object, name: str) -> dict[str, NDArray[Any]]:
    """Arrays by name: one array, one per layer, or one per step or prompt and layer, as models return them.

    Raises:
        UsageError: A list of arrays could hold layers or prompts.
    """
    if not isinstance(given, list | tuple) or not given:
        return {name: _array(given, name)}
    if all(isinstance(layers, list | tuple) and layers and all(map(_is_array, layers)) for layers in given):
        # While a model generates, every step but the first has fewer queries than keys.
        square = all(array.shape[-1] == array.shape[-2] for layers in given for array in layers)
        outer = "prompt" if square else "step"
        return {
            f"{outer}_{index}_layer_{layer}": _array(array, name)
            for index, layers in enumerate(given)
            for layer, array in enumerate(layers)
        }
    if not all(map(_is_array, given)):
        return {name: _array(given, name)}
    lengths = {array.shape[-1:] for array in given}
    if isinstance(given, list) and len(given) > 1 and all(array.ndim == _WHOLE and len(array) > 1 for array in given):
        if len(lengths) == 1:
            raise UsageError(
                f"It is unclear whether the arrays in the list {name!r} are layers or prompts.",
                "Pass a tuple of layers, as models return them, or a list of such tuples, one for each prompt.",
            )
        return {f"prompt_{index}": _array(array, name) for index, array in enumerate(given)}
    return {f"layer_{layer}": _array(array, name) for layer, array in enumerate(given)}


def _is_array(given: object) -> bool:
    return hasattr(given, "shape")


def _array(given: object, name: str) -> NDArray[np.floating]:
    """Converts any array to a numpy array."""
    try:
        return np.asarray(plain(given))
    except Exception as error:
        # A tensor must be on the CPU and without gradients, as its own message explains.
        raise UsageError(f"The patterns {name!r} are not an array: {first_line(error)}", HINT) from error
