"""Tidy tables of heads."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def by_head(student: str, **columns: NDArray[np.float64] | int) -> pd.DataFrame:
    """Returns a table with a row per layer and head.

    Args:
        student: The student's name.
        columns: For each column name, an array `[layer, head]` or one value for all heads.
    """
    layer, head = np.indices(next(np.shape(value) for value in columns.values() if np.ndim(value)))
    flat = {name: np.ravel(value) if np.ndim(value) else value for name, value in columns.items()}
    return pd.DataFrame({"student": student, "layer": layer.ravel(), "head": head.ravel(), **flat})
