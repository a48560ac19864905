"""What students in 16 bits can be used for, and how far rounding moves what is measured of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, get_args

from kdprobe.errors import UsageError
from kdprobe.host.specs import AnalysisSpec
from kdprobe.models.reference import Precision
from kdprobe.words import counted, enumerated

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.host.registry import Host
    from kdprobe.students.bridges import Bridges
    from kdprobe.students.student import Student

CHECKED = 2
"""The number of problems on which students are checked: two, so that one of them is padded."""


def refuse_reduced(host: Host, analyses: Iterable[str], dtype: Precision) -> None:
    """Checks that analyses can examine students in a data type.

    Raises:
        UsageError: There is no such data type, or one of them needs float32.
    """
    if dtype not in get_args(Precision):
        raise UsageError(f"Unknown dtype {dtype!r}.", f"Use one of {', '.join(get_args(Precision))}.")
    if dtype == "float32":
        return
    specs = {name: host.get("analyses", name).spec for name in analyses}
    needing = [name for name, spec in specs.items() if not (isinstance(spec, AnalysisSpec) and spec.any_precision)]
    if needing:
        need = "needs" if len(needing) == 1 else "need"
        raise UsageError(
            f"{enumerated(needing)} {need} float32: rounding to {dtype} may change log-probabilities by more than the "
            "effects being measured.",
            "Use float32 for these analyses, or leave them out.",
        )


def in_words(students: Sequence[Student], dtype: Precision) -> str:
    """How the weights of students of one base are kept, to follow what is said of them; empty for float32."""
    reduced = "" if dtype == "float32" else f" and were run in {dtype}"
    base = students[0].base if students else None
    if not (base and base.is_packed):
        return reduced
    kept = "with quantised weights" if reduced else "and their weights are quantised"
    return f"{reduced}, {kept} ({base.quantisation})"


def rounding(bridges: Bridges, problems: int) -> tuple[pd.DataFrame, str] | None:
    """How far the patterns of the students that were booted are from float32: a table and a sentence.

    Args:
        bridges: Students in 16 bits.
        problems: The number of problems that they read.

    Returns:
        `None` if none was booted.
    """
    import pandas as pd

    rows = [
        {"student": name, "dtype": bridges.dtype, "layer": each.layer, "largest": each.largest, "moved": each.moved}
        for name, roundings in bridges.roundings.items()
        for each in roundings
    ]
    if not rows:
        return None
    table = pd.DataFrame(rows)
    layers = sorted(set(table["layer"]))
    return table, (
        f"Students were run in {bridges.dtype}. On average over {counted(min(CHECKED, problems), 'problem')} and "
        f"layer{'s' if len(layers) > 1 else ''} {enumerated([str(layer) for layer in layers])}, rounding "
        f"moves {table['moved'].mean():.2%} of a query's attention to other keys, compared with the same weights in "
        f"float32; it changes no attention weight there by more than {table['largest'].max():.2g}."
    )
