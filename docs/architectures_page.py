"""The page of architectures: what came of every analysis of heads in the tests, as they recorded it."""

import json
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "tests" / "data" / "architectures.json"

_LEAD = """# Architectures

Generated from what the tests recorded by `make docs`.

`make matrix` runs every analysis on a random base of the architecture and a student with LoRA on its attention. It
compares every number with a computation of its own: patterns from Hugging Face's attention, circuits from running
attention on unit vectors, effects from whole passes with one head changed, direct attribution from the architecture's
formulas in float64. Where an analysis is refused, the number is that of the sentence below.
"""


def architectures_page() -> str:
    """A row per architecture, a column per analysis."""
    recorded: dict[str, dict[str, str]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    analyses = list(next(iter(recorded.values())))
    reasons: list[str] = []

    def cell(outcome: str) -> str:
        if outcome == "right":
            return "right"
        reason = outcome.removeprefix("refused: ")
        if reason not in reasons:
            reasons.append(reason)
        return f"refused ({reasons.index(reason) + 1})"

    rows = [
        f"| `{architecture}` | {' | '.join(cell(outcomes[name]) for name in analyses)} |"
        for architecture, outcomes in recorded.items()
    ]
    head = f"| architecture | {' | '.join(f'`{name}`' for name in analyses)} |"
    table = [head, "|" + " --- |" * (len(analyses) + 1), *rows]
    listed = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([_LEAD, *table, "", *listed, ""])
