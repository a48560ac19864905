"""Attention patterns from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PatternFile:
    """One student's attention patterns on one prompt.

    Attributes:
        name: As the user calls it, or the file's name.
        file: Where it was read from.
        pattern: `[layer, head, query, key]`, float32, as it was dumped.
    """

    name: str
    file: Path
    pattern: NDArray[np.float32]
