"""What the numbers in the names of arrays count: prompts, layers, heads or steps.

The word before a number says it (`layer`, `head`, `prompt`, `step` or a synonym). Numbers without such a word are read
only where the shapes of the arrays leave one possibility.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from kdprobe.errors import UsageError

Axis = Literal["prompt", "layer", "head", "step"]
WORDS: dict[str, Axis] = {
    **dict.fromkeys(("layer", "layers", "block", "blocks", "h", "l"), "layer"),
    **dict.fromkeys(("head", "heads"), "head"),
    **dict.fromkeys(
        ("prompt", "prompts", "problem", "problems", "example", "examples", "sample", "samples", "sequence"), "prompt"
    ),
    **dict.fromkeys(("step", "steps"), "step"),
}
"""Words in names of arrays, and what the number after them counts."""
_EITHER = "h"
"""GPT-2's word for a layer; short for a head if the name has another word for layers."""
_NEUTRAL = frozenset({"", "arr", "array", "attn", "attention", "attentions", "pattern", "patterns", "probs", "weights"})
"""Words after which a number may count layers; numpy calls unnamed arrays `arr_0`."""
_NUMBER = re.compile(r"([A-Za-z]*)[^A-Za-z0-9]*(\d+)")
NAMING = "Use names that say what each number refers to, such as layer_0, prompt_0 or layer_0/head_3."
MATRIX = 2
"""Axes of an array that is a single matrix, query by key."""


@dataclass(frozen=True)
class Numbered:
    """One array and what the numbers in its name count.

    Attributes:
        key: Its name in the file.
        array: `[..., query, key]`; the leading axes are those of prompt, layer and head that `numbers` lacks.
        numbers: Axis to number.
        prompt: The name of its prompt, if the array's name contains it.
    """

    key: str
    array: NDArray[Any]
    numbers: Mapping[Axis, int]
    prompt: str | None = None

    @property
    def leading(self) -> int:
        """The number of axes before query and key."""
        return self.array.ndim - MATRIX


def axes_in(name: str) -> set[Axis]:
    """What the numbers in a name count, as far as the words before them say."""
    return {axis for axis in _axes_of([word.lower() for word, _ in _NUMBER.findall(name)]) if axis}


def prompt_name(number: int, word: str = "") -> str:
    """The name of a prompt with this number, and the word before it in the file."""
    return f"{word or 'prompt'}_{number}"


def numbered(arrays: Mapping[str, NDArray[Any]], file: Path) -> list[Numbered]:
    """Finds out what the numbers in the arrays' names count.

    Raises:
        UsageError: The names do not say.
    """
    found = {key: [(word.lower(), int(number)) for word, number in _NUMBER.findall(key)] for key in arrays}
    if len({len(numbers) for numbers in found.values()}) > 1:
        raise UsageError(f"The array names in {file} differ in how many numbers they contain.", NAMING)
    columns = list(zip(*found.values(), strict=True))
    words = [{word for word, _ in column} for column in columns]
    axes = _axes_of([min(each) if len(each) == 1 else "" for each in words])
    named = {index: axis for index, axis in enumerate(axes) if axis}
    varying = [index for index, column in enumerate(columns) if len({number for _, number in column}) > 1]
    others = [index for index in varying if index not in named]
    neutral = all(words[index] <= _NEUTRAL for index in others)
    named |= _unnamed(others, named, list(arrays.values()), file, neutral=neutral)
    prompt = next((index for index, axis in named.items() if axis == "prompt"), None)

    def name_of(numbers: Sequence[tuple[str, int]]) -> str | None:
        if prompt is None:
            return None
        word, number = numbers[prompt]
        return prompt_name(number, word)

    return [
        Numbered(key, array, {axis: found[key][index][1] for index, axis in named.items()}, name_of(found[key]))
        for key, array in arrays.items()
    ]


def _axes_of(words: Sequence[str]) -> list[Axis | None]:
    """The axis that each of a name's words stands for; only the first of several words for one axis counts."""
    layers = any(WORDS.get(word) == "layer" for word in words if word != _EITHER)
    axes: list[Axis | None] = []
    for word in words:
        axis: Axis | None = "head" if word == _EITHER and layers else WORDS.get(word)
        axes.append(None if axis in axes else axis)
    return axes


def _unnamed(
    columns: Sequence[int], named: Mapping[int, Axis], arrays: Sequence[NDArray[Any]], file: Path, *, neutral: bool
) -> dict[int, Axis]:
    """What numbers without a known word count, where the shapes leave one possibility.

    Args:
        columns: Which of the names' numbers these are.
        named: What the others count.
        arrays: The arrays.
        file: For messages.
        neutral: Whether the words before them do not speak against layers.

    Raises:
        UsageError: They could count several things.
    """
    if not columns:
        return {}
    free: list[Axis] = [axis for axis in ("layer", "head") if axis not in named.values()]
    leading = arrays[0].ndim - MATRIX
    if len(columns) == len(free) and leading == 0:
        # One matrix per layer and head.
        return dict(zip(columns, free, strict=True))
    alone = leading == 1 or (leading > 1 and arrays[0].shape[0] == 1)
    if len(columns) == 1 and "layer" in free and neutral and alone:
        # One array per layer, [head, query, key] or [1, head, query, key].
        return {columns[0]: "layer"}
    if len(columns) == 1 and leading > 1 and len({array.shape[-1] for array in arrays}) > 1:
        # The layers of a model read prompts of one length.
        return {columns[0]: "prompt"}
    raise UsageError(
        f"It is unclear whether the numbers in the array names in {file} refer to layers, heads or prompts.",
        NAMING,
    )
