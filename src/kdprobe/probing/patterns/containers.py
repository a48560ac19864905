"""Reads arrays from `.npz`, `.safetensors`, `.npy` and folders of `.npy` files. Pickles are never loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.files import refuse_special
from kdprobe.limits import UNPACKED_GB

HINT = "For each prompt, save post-softmax attention as [layer, head, query, key]."


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

    return {key: plain(tensor).numpy() for key, tensor in load_file(file).items()}


def plain(given: Any) -> Any:
    """A torch tensor of a type that numpy has, float32 instead of bfloat16; anything else unchanged."""
    return given.float() if str(getattr(given, "dtype", "")) == "torch.bfloat16" else given
