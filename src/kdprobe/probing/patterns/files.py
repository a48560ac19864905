"""Attention patterns from files: `.npz`, `.safetensors`, `.npy`, and folders of them. Pickles are never loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import UsageError, first_line
from kdprobe.probing.patterns.containers import HINT, arrays_of
from kdprobe.probing.patterns.prompts import PromptPatterns, prompts_of
from kdprobe.students.replicates import named_replicate

_DIGITS = re.compile(r"(\d+)")


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
        raise UsageError(f"The prompts of {name} have different layers and heads ({sizes}).", HINT)
    return PatternFile(name, file, tuple(prompts), arm=named_replicate(name)[0])


def _read(file: Path) -> list[PromptPatterns]:
    """The prompts of a file, or of a folder with a file for each prompt or batch, in the order of their numbers."""
    inside = sorted([*file.glob("*.npz"), *file.glob("*.safetensors")], key=_by_number) if file.is_dir() else []
    if not inside:
        return prompts_of(arrays_of(file), file)
    read = {each.stem: prompts_of(arrays_of(each), each) for each in inside}
    return [
        prompt.named(stem if len(prompts) == 1 else f"{stem} {prompt.name}")
        for stem, prompts in read.items()
        for prompt in prompts
    ]


def _by_number(file: Path) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in _DIGITS.split(file.name)]


def _arrays(given: object, name: str) -> dict[str, NDArray[Any]]:
    """Arrays by name: one array, one per layer, or one per step and layer, as models return them."""
    if not isinstance(given, list | tuple) or not given:
        return {name: _array(given, name)}
    if all(isinstance(step, list | tuple) and hasattr(step[0] if step else None, "shape") for step in given):
        return {
            f"step_{step}_layer_{layer}": _array(array, name)
            for step, layers in enumerate(given)
            for layer, array in enumerate(layers)
        }
    if all(hasattr(array, "shape") for array in given):
        return {f"layer_{layer}": _array(array, name) for layer, array in enumerate(given)}
    return {name: _array(given, name)}


def _array(given: object, name: str) -> NDArray[np.floating]:
    """Converts any array to a numpy array."""
    try:
        return np.asarray(given)
    except Exception as error:
        # A tensor must be on the CPU and without gradients, as its own message explains.
        raise UsageError(f"The patterns {name!r} are not an array: {first_line(error)}", HINT) from error
