"""Tells the axes of arrays of attention apart: prompts, layers and heads, from the arrays' names and shapes.

An array ends with the axes query and key. What a number in its name counts (the word before it says: `layer`, `head`,
`prompt`, `step` or a synonym) has no axis of its own. Arrays that can still be read in several ways are refused,
because a wrong guess would label one thing with the name of another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import UsageError
from kdprobe.probing.patterns.containers import HINT

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
_NUMBER = re.compile(r"([A-Za-z]*)[^A-Za-z0-9]*(\d+)")
_NAMES = "Name the arrays by what their numbers count, such as layer_0, prompt_0 or layer_0/head_3."
_MATRIX = 2


@dataclass(frozen=True)
class Numbered:
    """One array and what the numbers in its name count.

    Attributes:
        key: Its name in the file.
        array: `[..., query, key]`; the leading axes are those of prompt, layer and head that `numbers` lacks.
        numbers: Axis to number.
    """

    key: str
    array: NDArray[Any]
    numbers: Mapping[Axis, int]

    @property
    def leading(self) -> int:
        """The number of axes before query and key."""
        return self.array.ndim - _MATRIX


def numbered(arrays: Mapping[str, NDArray[Any]], file: Path) -> list[Numbered]:
    """Finds out what the numbers in the arrays' names count.

    Raises:
        UsageError: The names do not say.
    """
    found = {key: [(word.lower(), int(number)) for word, number in _NUMBER.findall(key)] for key in arrays}
    if len({len(numbers) for numbers in found.values()}) > 1:
        raise UsageError(f"The names of the arrays in {file} differ in how many numbers they contain.", _NAMES)
    columns = list(zip(*found.values(), strict=True))
    named: dict[int, Axis] = {}
    for index, column in enumerate(columns):
        words = {word for word, _ in column}
        if len(words) == 1 and (axis := WORDS.get(words.pop())) and axis not in named.values():
            named[index] = axis
    others = [
        index
        for index, column in enumerate(columns)
        if index not in named and len({number for _, number in column}) > 1
    ]
    named |= _unnamed(others, named, list(arrays.values()), file)
    return [
        Numbered(key, array, {axis: found[key][index][1] for index, axis in named.items()})
        for key, array in arrays.items()
    ]


def _unnamed(
    columns: Sequence[int], named: Mapping[int, Axis], arrays: Sequence[NDArray[Any]], file: Path
) -> dict[int, Axis]:
    """What numbers without a word count, where the shapes leave one possibility.

    Raises:
        UsageError: They could count several things.
    """
    if not columns:
        return {}
    free: list[Axis] = [axis for axis in ("layer", "head") if axis not in named.values()]
    leading = arrays[0].ndim - _MATRIX
    if len(columns) == len(free) and leading == 0:
        # One matrix per layer and head.
        return dict(zip(columns, free, strict=True))
    if len(columns) == 1 and "layer" in free and (leading == 1 or (leading > 1 and arrays[0].shape[0] == 1)):
        # One array per layer, [head, query, key] or [1, head, query, key].
        return {columns[0]: "layer"}
    if len(columns) == 1 and leading > 1 and len({array.shape[-1] for array in arrays}) > 1:
        # The layers of a model read prompts of one length.
        return {columns[0]: "prompt"}
    raise UsageError(
        f"It is unclear whether the numbers in the names of the arrays in {file} count layers, heads or prompts.",
        _NAMES,
    )


def by_prompt(arrays: Sequence[Numbered], prompts: int | None, file: Path) -> list[NDArray[Any]]:
    """Assembles the arrays into one array per prompt, `[layer, head, query, key]`.

    Args:
        arrays: Arrays whose names contain the same kinds of numbers.
        prompts: The number of prompts, if tokens or masks in the file say it.
        file: For messages.

    Raises:
        UsageError: The axes are ambiguous, numbers are missing, or the shapes differ.
    """
    named = set(arrays[0].numbers)
    grouped: dict[int, dict[tuple[int, int], NDArray[Any]]] = {}
    for each in arrays:
        for prompt, layer, head, matrix in _matrices(each, _axes(each, named, prompts, file)):
            cells = grouped.setdefault(prompt, {})
            if (layer, head) in cells:
                raise UsageError(f"Two arrays in {file} hold the same layer and head; one is {each.key}.", _NAMES)
            cells[layer, head] = matrix
    return [_filled(cells, file) for _, cells in sorted(grouped.items())]


def _axes(each: Numbered, named: set[Axis], prompts: int | None, file: Path) -> list[Axis]:
    """What an array's leading axes are.

    Raises:
        UsageError: They could be several things.
    """
    needed: list[Axis] = [axis for axis in ("layer", "head") if axis not in named]
    prompts = 1 if "prompt" in named else prompts
    several = prompts is not None and prompts > 1
    if each.leading == len(needed) and not several:
        return needed
    if each.leading == len(needed) + 1:
        return _with_prompts(each, needed, prompts, file)
    if each.leading == 0 and needed == ["layer"]:
        # One matrix per head, of a single layer.
        return []
    if each.leading == 1 and needed == ["layer", "head"]:
        raise UsageError(
            f"{each.key} in {file} has three axes: it may hold the heads of one layer, or averages over the heads of "
            "each layer, which are not heads.",
            f"{HINT} For one layer, name it layer_N or add an axis of size 1.",
        )
    if each.leading == 0 and needed == ["head"]:
        raise UsageError(
            f"{each.key} in {file} has no axis of heads: it may be an average over the heads of its layer, which is "
            "not a head.",
            f"{HINT} For one head per layer, add an axis of size 1.",
        )
    if several and each.leading == len(needed):
        if needed == ["layer", "head"] and each.array.shape[0] == prompts:
            # The tokens say that there are several prompts, so the array holds a single layer.
            return ["prompt", "head"]
        raise UsageError(f"{file} contains the tokens of {prompts} prompts, but {each.key} has no axis for them.", HINT)
    raise UsageError(f"{each.key} in {file} has the shape {list(each.array.shape)}.", HINT)


def _with_prompts(each: Numbered, needed: list[Axis], prompts: int | None, file: Path) -> list[Axis]:
    """The leading axes if one of them counts prompts: before the layers, or between layers and heads."""
    sizes = each.array.shape[: each.leading]
    if needed == ["head"]:
        if prompts is not None and sizes[0] != prompts:
            raise UsageError(f"{each.key} in {file} holds {sizes[0]} prompts, but there are tokens of {prompts}.", HINT)
        return ["prompt", "head"]
    if needed == ["layer", "head"]:
        batch = 1 if prompts is None else prompts
        places = [index for index in (0, 1) if sizes[index] == batch]
        if len(places) == 1 or (places and batch == 1):
            return ["prompt", "layer", "head"] if places[0] == 0 else ["layer", "prompt", "head"]
    raise UsageError(
        f"{each.key} in {file} has the shape {list(each.array.shape)}: it is unclear which axis counts the prompts.",
        "Save one array per layer (layer_0, ...) or per prompt (prompt_0, ...), or the prompts' input_ids in the same "
        "file.",
    )


def _matrices(each: Numbered, axes: Sequence[Axis]) -> list[tuple[int, int, int, NDArray[Any]]]:
    """Every matrix of an array with its prompt, layer and head."""
    found = []
    for index in np.ndindex(*each.array.shape[: len(axes)]):
        # The name's number counts, not the position on an axis of size one. With neither, it is the only one.
        place = {**dict(zip(axes, index, strict=True)), **each.numbers}
        found.append((place.get("prompt", 0), place.get("layer", 0), place.get("head", 0), each.array[index]))
    return found


def _filled(cells: Mapping[tuple[int, int], NDArray[Any]], file: Path) -> NDArray[Any]:
    """All matrices of one prompt in one array, `[layer, head, query, key]`."""
    if len({matrix.shape for matrix in cells.values()}) > 1:
        raise UsageError(f"The arrays in {file} have different shapes.", HINT)
    layers, heads = (sorted({place[axis] for place in cells}) for axis in (0, 1))
    sizes = [values[-1] - values[0] + 1 for values in (layers, heads)]
    if sizes[0] * sizes[1] != len(cells):
        raise UsageError(
            f"The arrays in {file} are numbered with gaps or duplicates.", "Number every layer and head exactly once."
        )
    stacked = np.stack([cells[place] for place in sorted(cells)])
    return stacked.reshape(*sizes, *stacked.shape[1:])
