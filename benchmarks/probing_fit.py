"""What the peaks of `probing.py` consist of, and what that makes for a large student: on paper.

Every peak is taken for a sum of terms, each of which grows with the sizes in its own way, such as the attention
patterns of one layer. Their coefficients, none of them negative, are those that fit the measured peaks best relative
to their size. For a large student, its weights are added up from its shapes instead, and the other terms are as many
times as large as their formulas say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import nnls

MIB, GIB = 2**20, 2**30
FLOAT, BATCH = 4, 4
"""Bytes of a number, and the batch size that is measured."""
Sizes = Mapping[str, int]
LLAMA_8B = {
    "students": 8,
    "problems": 16,
    "tokens": 1024,
    "heads": 32,
    "layers": 32,
    "batch": 8,
    "width": 4096,
    "inner": 14336,
    "kv_width": 1024,
    "vocabulary": 128_256,
    "tied": 0,
}
"""Llama 3.1 8B with eight adapters on the attention projections, and the default sizes of `kdprobe probe`."""
ON_THE_HOST = frozenset({"head outputs of all problems", "tables", "libraries"})
"""Terms in main memory, even if the model is on a GPU."""


def batch(sizes: Sizes) -> int:
    """Sequences that are read at once."""
    return min(sizes["batch"], sizes["problems"])


def weights(sizes: Sizes, bytes_each: int = FLOAT) -> float:
    """Bytes of a Llama."""
    layer = projections(sizes) + 3 * sizes["width"] * sizes["inner"]
    embeddings = (1 if sizes["tied"] else 2) * sizes["vocabulary"] * sizes["width"]
    return bytes_each * (embeddings + sizes["layers"] * layer)


def projections(sizes: Sizes) -> float:
    """Weights of the attention projections of a layer."""
    return 2 * sizes["width"] * (sizes["width"] + sizes["kv_width"])


TERMS: dict[str, Callable[[Sizes], float]] = {
    "libraries": lambda _: MIB,
    "weights": weights,
    "patterns of a layer": lambda s: FLOAT * batch(s) * s["heads"] * s["tokens"] ** 2,
    "patterns of all layers": lambda s: FLOAT * s["layers"] * s["heads"] * s["tokens"] ** 2,
    "activations of a layer": lambda s: FLOAT * batch(s) * s["tokens"] * s["width"],
    "activations of all layers": lambda s: FLOAT * s["layers"] * s["tokens"] * s["width"],
    "head outputs of all problems": lambda s: FLOAT * s["problems"] * s["layers"] * s["tokens"] * s["width"],
    "tables": lambda s: 8 * s["students"] * s["problems"] * s["layers"] * s["heads"],
}
"""Name to bytes."""
MERGED = frozenset({"ablation", "patching", "circuits", "attribution", "output_divergence", "logit_lens", "contrast"})
"""Analyses that merge the adapter into copies of the projections that it changes, one student at a time."""
SIXTEEN_BITS = frozenset({"heads", "divergence", "geometry"})
"""Analyses that can examine students in 16 bits."""


def fitted(points: list[tuple[Sizes, float]]) -> dict[str, float]:
    """The coefficient of each term.

    Args:
        points: Sizes and peaks in MiB.
    """
    rows = np.array([[term(sizes) / MIB for term in TERMS.values()] for sizes, _ in points])
    peaks = np.array([peak for _, peak in points])
    found, _ = nnls(rows / peaks[:, None], np.ones(len(peaks)))
    return dict(zip(TERMS, found.tolist(), strict=True))


def predicted(coefficients: Mapping[str, float], sizes: Sizes) -> float:
    """The peak in MiB."""
    return sum(coefficients[name] * term(sizes) for name, term in TERMS.items()) / MIB


def on_paper(name: str, coefficients: Mapping[str, float], sizes: Sizes = LLAMA_8B) -> dict[str, float]:
    """GiB that an analysis of a large student needs.

    Returns:
        `weights` in float32, with a merged student's copies, and `weights_16` in 16 bits; `rest`, everything else that
        may be on the device; and `per_sequence`, the part of `rest` that the batch size decides, for one.
    """
    copies = FLOAT * sizes["layers"] * projections(sizes) if name in MERGED else 0.0
    bytes_of = {each: coefficients[each] * term(sizes) for each, term in TERMS.items() if each != "weights"}
    batched = sum(bytes_of[each] for each in bytes_of if each.endswith("of a layer"))
    if name == "divergence":
        # It holds the patterns of all layers of a whole batch; all other analyses of one sequence.
        bytes_of["patterns of all layers"] *= batch(sizes) / BATCH
        batched += bytes_of["patterns of all layers"]
    device = sum(size for each, size in bytes_of.items() if each not in ON_THE_HOST)
    return {
        "weights": (weights(sizes) + copies) / GIB,
        "weights_16": (weights(sizes, 2)) / GIB,
        "rest": device / GIB,
        "per_sequence": batched / sizes["batch"] / GIB,
    }


def paper_rows(found: Mapping[str, Any], card: float = 80e9) -> list[str]:
    """The rows of the table for the large student."""
    rows = []
    for name, coefficients in found.items():
        need = on_paper(name, coefficients)
        totals = [need["weights"] + need["rest"], need["weights_16"] + need["rest"]]
        halves = f"{totals[1]:.0f}" if name in SIXTEEN_BITS else ""
        room = card / GIB - need["weights"] - (need["rest"] - LLAMA_8B["batch"] * need["per_sequence"])
        # Weights have no batch, and hardly any memory that would depend on one.
        largest = f"{room / need['per_sequence']:.0f}" if need["rest"] > 1 else ""
        rows.append(
            f"| `{name}` | {need['weights']:.0f} | {need['rest']:.1f} | {totals[0]:.0f} | {halves} | {largest} |"
        )
    return rows
