"""Tidy tables of heads."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def by_head(student: str, **columns: NDArray[np.float64] | int) -> pd.DataFrame:
    """One row per layer and head.

    Args:
        student: The student's name.
        columns: Name to `[layer, head]`, or to what is the same for all.
    """
    layer, head = np.indices(next(np.shape(value) for value in columns.values() if np.ndim(value)))
    flat = {name: np.ravel(value) if np.ndim(value) else value for name, value in columns.items()}
    return pd.DataFrame({"student": student, "layer": layer.ravel(), "head": head.ravel(), **flat})
