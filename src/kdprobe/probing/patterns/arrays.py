"""Assembles attention patterns from arrays in files: one array for all layers, one per layer, or one per head."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.files import refuse_special
from kdprobe.limits import UNPACKED_GB

PREFERRED = ("attention", "attentions", "pattern", "patterns")
"""Keys that are used if a file contains several arrays."""
HINT = "Patterns must be post-softmax attention over one prompt, [layer, head, query, key]."
_ALL, _LAYER, _HEAD = 4, 3, 2
"""Axes of an array for all layers, for one layer and for one head."""
_NUMBER = re.compile(r"\d+")


def arrays_of(file: Path) -> dict[str, NDArray[Any]]:
    """Returns all arrays in a file or folder, by key or by path without suffix.

    Raises:
        UsageError: The file does not exist, cannot be read, or has an unsupported format.
    """
    if not file.exists():
        raise UsageError(f"The file or folder {file} does not exist.", "Check the path.")
    try:
        refuse_special(file)
        if file.is_dir():
            return {str(npy.relative_to(file).with_suffix("")): _load_npy(npy) for npy in sorted(file.rglob("*.npy"))}
        if file.suffix == ".npz":
            _refuse_large(file)
            with np.load(file, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        if file.suffix == ".npy":
            return {file.stem: _load_npy(file)}
        if file.suffix == ".safetensors":
            return _load_safetensors(file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"Cannot read the patterns in {file}: {reason}.", "Check the path.") from error
    except KdprobeError:
        raise
    except Exception as error:
        # numpy evaluates headers, zipfile and zlib have their own exceptions, and absurd shapes cause a MemoryError.
        pickled = "Object arrays" in str(error)
        reason = "it contains pickled objects" if pickled else "it is damaged or of a different type"
        raise UsageError(f"Cannot read the patterns in {file}: {reason}.", "Save plain arrays of floats.") from error
    raise UsageError(
        f"{file.name} is not a supported pattern file.",
        "Use .npz, .safetensors, .npy or a folder of .npy; pickles are never loaded.",
    )


def _refuse_large(file: Path) -> None:
    """Raises if an archive's declared size exceeds the limit."""
    with zipfile.ZipFile(file) as packed:
        size = sum(entry.file_size for entry in packed.infolist())
    if size > UNPACKED_GB.value * 2**30:
        raise UsageError(f"{file} unpacks to more than {UNPACKED_GB.value:g} GB.", UNPACKED_GB.hint)


def _load_npy(file: Path) -> NDArray[Any]:
    refuse_special(file)
    array: NDArray[Any] = np.load(file, allow_pickle=False)
    return array


def _load_safetensors(file: Path) -> dict[str, NDArray[Any]]:
    from safetensors.torch import load_file

    # Via torch, because numpy has no bfloat16.
    return {
        key: (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        for key, tensor in load_file(file).items()
    }


def assembled(arrays: Mapping[str, NDArray[Any]], file: Path) -> NDArray[np.float32]:
    """Returns all layers in one array, `[layer, head, query, key]`, from one array, or one per layer or head.

    Raises:
        UsageError: The arrays are not patterns, or their names do not identify layer and head.
    """
    squares = {key: _without_batch(array) for key, array in arrays.items() if _square(array)}
    if sum(array.ndim == _ALL and array.shape[0] == 1 for array in squares.values()) > 1:
        # One array per layer, each with its batch axis.
        squares = {key: array[0] if array.ndim == _ALL else array for key, array in squares.items()}
    whole = [key for key, array in squares.items() if array.ndim == _ALL]
    chosen = [key for key in PREFERRED if key in whole] or whole
    if len(chosen) == 1 or (chosen and chosen[0] in PREFERRED):
        pattern = squares[chosen[0]]
    elif chosen:
        raise UsageError(f"{file} contains several pattern arrays: {', '.join(sorted(chosen))}.", "Keep one of them.")
    else:
        layers = {key: array for key, array in squares.items() if array.ndim == _LAYER}
        heads = {key: array for key, array in squares.items() if array.ndim == _HEAD}
        if not layers and not heads:
            shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in list(arrays.items())[:4]) or "nothing"
            raise UsageError(f"{file} contains no attention patterns (it contains {shapes}).", HINT)
        pattern = _stacked(layers, ["layer"], file) if layers else _stacked(heads, ["layer", "head"], file)
    if pattern.dtype.kind != "f":
        raise UsageError(
            f"The patterns in {file} have dtype {pattern.dtype}.", "Save them as float16, float32 or float64."
        )
    return pattern.astype(np.float32)


def _square(array: NDArray[Any]) -> bool:
    return array.ndim >= _HEAD and array.shape[-1] == array.shape[-2] and array.shape[-1] > 0


def _without_batch(array: NDArray[Any]) -> NDArray[Any]:
    """Removes the batch axis of size one that models put before or after the layers."""
    return array.squeeze(axis=array.shape[:2].index(1)) if array.ndim == _ALL + 1 and 1 in array.shape[:2] else array


def _stacked(arrays: Mapping[str, NDArray[Any]], axes: list[str], file: Path) -> NDArray[Any]:
    """Stacks arrays by the numbers in their names: the layer, or the layer and the head."""
    if len({array.shape for array in arrays.values()}) > 1:
        raise UsageError(f"The arrays in {file} have different shapes.", HINT)
    if len(arrays) == 1:
        (only,) = arrays.values()
        return only[(None,) * len(axes)]
    numbers = {key: tuple(int(digits) for digits in _NUMBER.findall(key)) for key in arrays}
    columns = list(zip(*numbers.values(), strict=False))
    varying = [index for index, column in enumerate(columns) if len(set(column)) > 1]
    if len({len(row) for row in numbers.values()}) > 1 or len(varying) > len(axes):
        raise UsageError(
            f"The names in {file} do not identify the {' and '.join(axes)} of each array.",
            "Number them, as in layer_0.npy or layer_0/head_3.npy.",
        )
    sizes = [max(columns[index]) - min(columns[index]) + 1 for index in varying]
    if int(np.prod(sizes)) != len(arrays):
        raise UsageError(
            f"The arrays in {file} are numbered with gaps or duplicates.", "Number every layer and head exactly once."
        )
    ordered = sorted(arrays, key=lambda key: [numbers[key][index] for index in varying])
    stacked = np.stack([arrays[key] for key in ordered])
    # One varying number for arrays of one head each: a single layer.
    lead = sizes if len(sizes) == len(axes) else [1, *sizes]
    return stacked.reshape(*lead, *stacked.shape[1:])
