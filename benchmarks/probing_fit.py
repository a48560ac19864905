"""What the peaks of `probing.py` consist of, and what that makes for a large student: on paper.

Every peak is taken for a sum of terms, each of which grows with the sizes in its own way, such as the attention
patterns of one layer. The size of tables is measured; the other coefficients, none of them negative, are those that
fit the measured peaks best relative to their size. Analyses of patterns first check every student, which needs about
the same memory at all sizes measured. Their peak is that of the check, or the weights, what the code keeps of
patterns, and a multiple of one layer's. For a large student, its weights are added up from its shapes instead, and the
other terms are as many times as large as their formulas say.
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
RANK = 16
"""Of the large student's adapters; those measured have rank 2."""
ON_THE_HOST = frozenset({"head outputs of all problems", "tables", "kept attention", "shown maps", "libraries"})
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
    "patterns of a batch": lambda s: FLOAT * batch(s) * s["layers"] * s["heads"] * s["tokens"] ** 2,
    "activations of a layer": lambda s: FLOAT * batch(s) * s["tokens"] * s["width"],
    "activations of all layers": lambda s: FLOAT * s["layers"] * s["tokens"] * s["width"],
    "head outputs of all problems": lambda s: FLOAT * s["problems"] * s["layers"] * s["tokens"] * s["width"],
    "tables": lambda s: 8 * s["students"] * s["problems"] * s["layers"] * s["heads"],
    "kept attention": lambda s: (1 + s["students"]) * s["tokens"] * (85 * s["tokens"] + 45 * s["layers"] * s["heads"]),
    "shown maps": lambda s: 70 * 3 * (1 + s["students"]) * s["tokens"] ** 2,
}
"""Name to bytes. Kept attention is that of the tables `whole_attention` and `strongest_keys`; a cell of one of the maps
that `attention` shows takes 32 bytes in its figure, and half of 76 in its table."""
KEPT: dict[str, dict[str, float]] = {
    "heads": {"kept attention": 2},
    "divergence": {"patterns of a batch": 2},
    "attention": {"patterns of all layers": 2, "shown maps": 1},
    "association": {},
    "ablation": {"patterns of a batch": 2},
}
"""What analyses of patterns keep: tables with their parts; the first student's patterns and a sum over students."""
KEEPS_HEAD_OUTPUTS = frozenset({"patching"})
"""Analyses that keep two students' head outputs for all problems; for others, differences of peaks are noise."""
OF_KEPT = ("kept attention", "shown maps", "patterns of a batch")
OUTPUT_MATRICES = {"patching": 3, "ablation": 1}
"""How many copies of all heads' W_O an analysis holds."""
MERGED = frozenset(
    {
        *("ablation", "patching", "circuits", "attribution", "output_divergence", "logit_lens", "contrast"),
        *("confidence", "drift"),
    }
)
"""Analyses that merge the adapter into copies of the projections that it changes, one student at a time."""
SIXTEEN_BITS = frozenset(
    {"heads", "divergence", "attention", "association", "geometry", "priming_map", "priming_heads", "priming_gain"}
)
"""Analyses that can examine students, or a teacher, in 16 bits."""


_LAYER = "patterns of a layer"
_ABOVE = 1.2
"""How far above the check a peak must be to come from patterns."""


def fitted(name: str, points: list[tuple[Sizes, float, float]]) -> dict[str, float]:
    """The coefficient of each term.

    Args:
        name: The analysis.
        points: Sizes, peaks in MiB, and the part of these that is in the result's tables.
    """
    if name in KEPT:
        rest = [(sizes, peak - weights(sizes) / MIB) for sizes, peak, _ in points]
        check = min(peak for _, peak in rest)
        layers = [
            (peak - _total(KEPT[name], sizes)) / (TERMS[_LAYER](sizes) / MIB)
            for sizes, peak in rest
            if peak > _ABOVE * check
        ]
        return dict.fromkeys(TERMS, 0.0) | KEPT[name] | {"libraries": check, "weights": 1.0, _LAYER: max(0.0, *layers)}
    absent = {"tables", *OF_KEPT, *(() if name in KEEPS_HEAD_OUTPUTS else ("head outputs of all problems",))}
    terms = [term for term in TERMS if term not in absent]
    rows = np.array([[TERMS[term](sizes) / MIB for term in terms] for sizes, *_ in points])
    peaks = np.array([peak for _, peak, _ in points])
    tables = np.array([each for *_, each in points])
    found, _ = nnls(rows / peaks[:, None], 1 - tables / peaks)
    size = float(np.mean([each * MIB / TERMS["tables"](sizes) for sizes, _, each in points]))
    return dict.fromkeys(TERMS, 0.0) | dict(zip(terms, found.tolist(), strict=True)) | {"tables": size}


def predicted(name: str, coefficients: Mapping[str, float], sizes: Sizes) -> float:
    """The peak in MiB."""
    if name not in KEPT:
        return _total(coefficients, sizes)
    rest = {term: each for term, each in coefficients.items() if term not in {"weights", "libraries"}}
    return weights(sizes) / MIB + max(coefficients["libraries"], _total(rest, sizes))


def _total(coefficients: Mapping[str, float], sizes: Sizes) -> float:
    return sum(each * TERMS[term](sizes) for term, each in coefficients.items()) / MIB


def on_paper(name: str, coefficients: Mapping[str, float], sizes: Sizes = LLAMA_8B) -> dict[str, float]:
    """GiB that an analysis of a large student needs.

    Returns:
        `weights` in float32, with a merged student's copies or, for patterns, all adapters; `weights_16`, the same in
        16 bits; `rest`, everything else that may be on the device; `host`, what is in main memory besides the
        libraries; and `per_sequence`, the part of `rest` that the batch size decides, for one.
    """
    copies = FLOAT * sizes["layers"] * projections(sizes) if name in MERGED else 0.0
    adapters = sizes["students"] * sizes["layers"] * RANK * (6 * sizes["width"] + 2 * sizes["kv_width"])
    adapters = FLOAT * adapters if name in KEPT else 0
    bytes_of = {each: coefficients[each] * term(sizes) for each, term in TERMS.items() if each != "weights"}
    batched = sum(bytes_of[each] for each in bytes_of if each.endswith(("of a layer", "of a batch")))
    device = sum(size for each, size in bytes_of.items() if each not in ON_THE_HOST)
    device += OUTPUT_MATRICES.get(name, 0) * FLOAT * sizes["layers"] * sizes["width"] ** 2
    host = sum(size for each, size in bytes_of.items() if each in ON_THE_HOST and each != "libraries")
    return {
        "weights": (weights(sizes) + copies + adapters) / GIB,
        "weights_16": (weights(sizes, 2) + adapters / 2) / GIB,
        "rest": device / GIB,
        "host": host / GIB,
        "per_sequence": batched / sizes["batch"] / GIB,
    }


def paper_rows(found: Mapping[str, Any], card: float = 80e9) -> list[str]:
    """The rows of the table for the large student."""
    rows = []
    # Both read patterns in the same way, but the peak of `heads` comes later, from its tables.
    reading = found.get("association", {}).get(_LAYER, 0.0)
    for name, coefficients in found.items():
        larger = {_LAYER: max(reading, coefficients[_LAYER])} if name == "heads" else {}
        need = on_paper(name, {**coefficients, **larger})
        totals = [need["weights"] + need["rest"], need["weights_16"] + need["rest"]]
        halves = f"{totals[1]:.0f}" if name in SIXTEEN_BITS else ""
        room = card / GIB - need["weights"] - (need["rest"] - LLAMA_8B["batch"] * need["per_sequence"])
        # Weights have no batch, and hardly any memory that would depend on one.
        largest = f"{room / need['per_sequence']:.0f}" if need["per_sequence"] > 0.1 else ""
        rows.append(
            f"| `{name}` | {need['weights']:.0f} | {need['rest']:.1f} | {totals[0]:.0f} | {halves} | {largest} | "
            f"{need['host']:.1f} |"
        )
    return rows
