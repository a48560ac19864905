"""Tells the axes of arrays of attention apart, and assembles them into one array for each prompt.

An array ends with the axes query and key. What a number in its name counts has no axis of its own. Arrays that can
still be read in several ways are refused, because a wrong guess would label one thing with the name of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import UsageError
from kdprobe.probing.patterns.containers import HINT
from kdprobe.probing.patterns.names import NAMING, Axis, Numbered, prompt_name
from kdprobe.words import counted


@dataclass(frozen=True)
class PromptArray:
    """The attention on one prompt.

    Attributes:
        name: The prompt's name, or `None` if the arrays are of a single prompt without a number.
        pattern: `[layer, head, query, key]`.
        first: The numbers of its first layer and head in the file.
    """

    name: str | None
    pattern: NDArray[Any]
    first: tuple[int, int]


class Stated(NamedTuple):
    """How many prompts a file has, according to the tokens or the masks in it.

    Attributes:
        prompts: The number of prompts.
        by: What says it, in the plural: `tokens` or `attention masks`.
    """

    prompts: int
    by: str


def by_prompt(arrays: Sequence[Numbered], stated: Stated | None, file: Path) -> list[PromptArray]:
    """Assembles the arrays into one array per prompt, in the order of the prompts' numbers.

    Args:
        arrays: Arrays whose names contain the same kinds of numbers.
        stated: The number of prompts, if the file contains tokens or masks.
        file: For messages.

    Raises:
        UsageError: The axes are ambiguous, numbers are missing, or the shapes differ.
    """
    named = set(arrays[0].numbers)
    grouped: dict[int, dict[tuple[int, int], NDArray[Any]]] = {}
    names: dict[int, str] = {}
    for each in arrays:
        for prompt, layer, head, matrix in _matrices(each, _axes(each, named, stated, file)):
            cells = grouped.setdefault(prompt, {})
            names[prompt] = each.prompt or prompt_name(prompt)
            if (layer, head) in cells:
                raise UsageError(f"Two arrays in {file} hold the same layer and head; one is {each.key}.", NAMING)
            queries, keys = matrix.shape
            if queries != keys:
                raise UsageError(f"{each.key} in {file} has {queries} queries but {keys} keys.", HINT)
            cells[layer, head] = matrix
    single = len(grouped) == 1 and "prompt" not in named
    return [
        PromptArray(None if single else names[prompt], _filled(cells, file), min(cells))
        for prompt, cells in sorted(grouped.items())
    ]


def _axes(each: Numbered, named: set[Axis], stated: Stated | None, file: Path) -> list[Axis]:
    """What an array's leading axes are.

    Raises:
        UsageError: They could be several things.
    """
    needed: list[Axis] = [axis for axis in ("layer", "head") if axis not in named]
    stated = None if "prompt" in named else stated
    several = stated is not None and stated.prompts > 1
    if each.leading == len(needed) and not several:
        return needed
    if each.leading == len(needed) + 1:
        return _with_prompts(each, needed, stated, file, single="prompt" in named)
    if each.leading == 0 and needed == ["layer"]:
        # One matrix per head, of a single layer.
        return []
    if each.leading == 1 and needed == ["layer", "head"]:
        raise UsageError(
            f"{each.key} in {file} has three axes: it may hold the heads of one layer, or an average over the heads of "
            "each layer, which cannot be analysed.",
            f"{HINT} For one layer, name the array layer_N or add an axis of size 1.",
        )
    if each.leading == 0 and needed == ["head"]:
        raise UsageError(
            f"{each.key} in {file} has no axis of heads: it may be an average over the heads of its layer, which "
            "cannot be analysed.",
            f"{HINT} For one head per layer, add an axis of size 1.",
        )
    if stated and several and each.leading == len(needed):
        if needed == ["layer", "head"] and each.array.shape[0] == stated.prompts:
            # The tokens say that there are several prompts, so the array holds a single layer.
            return ["prompt", "head"]
        raise UsageError(
            f"{file} contains {stated.by} for {stated.prompts} prompts, but {each.key} has no prompt axis.", HINT
        )
    raise UsageError(f"{each.key} in {file} has the shape {list(each.array.shape)}.", HINT)


def _with_prompts(each: Numbered, needed: list[Axis], stated: Stated | None, file: Path, *, single: bool) -> list[Axis]:
    """The leading axes if one of them counts prompts: before the layers, or between layers and heads."""
    sizes = each.array.shape[: each.leading]
    if "layer" not in needed:
        held = f"{each.key} in {file} contains patterns for {counted(sizes[0], 'prompt')}"
        if single and sizes[0] != 1:
            raise UsageError(f"{held}, but its name is that of a single prompt.", HINT)
        if stated and sizes[0] != stated.prompts:
            raise UsageError(f"{held}, but the file contains {stated.by} for {stated.prompts}.", HINT)
        return ["prompt", *needed]
    batch = stated.prompts if stated else 1
    fitting = [index for index in (0, 1) if sizes[index] == batch]
    if len(fitting) == 1 or (fitting and batch == 1):
        axes: list[Axis] = list(needed)
        axes.insert(fitting[0], "prompt")
        return axes
    raise UsageError(
        f"{each.key} in {file} has the shape {list(each.array.shape)}: it is unclear which axis is the prompt axis.",
        "Save one array per layer (layer_0, ...) or per prompt (prompt_0, ...), or the prompts' input_ids in the same "
        "file.",
    )


def _matrices(each: Numbered, axes: Sequence[Axis]) -> list[tuple[int, int, int, NDArray[Any]]]:
    """Every matrix of an array with its prompt, layer and head."""
    found = []
    for index in np.ndindex(*each.array.shape[: len(axes)]):
        # The name's number counts, not the position on an axis of size one. With neither, it is the only one.
        numbers = {**dict(zip(axes, index, strict=True)), **each.numbers}
        found.append((numbers.get("prompt", 0), numbers.get("layer", 0), numbers.get("head", 0), each.array[index]))
    return found


def _filled(cells: Mapping[tuple[int, int], NDArray[Any]], file: Path) -> NDArray[Any]:
    """All matrices of one prompt in one array, `[layer, head, query, key]`."""
    if len({matrix.shape for matrix in cells.values()}) > 1:
        raise UsageError(f"The arrays in {file} have different shapes.", HINT)
    layers, heads = (sorted({cell[axis] for cell in cells}) for axis in (0, 1))
    sizes = [values[-1] - values[0] + 1 for values in (layers, heads)]
    if sizes[0] * sizes[1] != len(cells):
        raise UsageError(
            f"The arrays in {file} are numbered with gaps or duplicates.", "Number every layer and head exactly once."
        )
    stacked = np.stack([cells[cell] for cell in sorted(cells)])
    return stacked.reshape(*sizes, *stacked.shape[1:])
