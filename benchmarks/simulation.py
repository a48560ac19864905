"""What simulations of error rates share: their options, and the check that errors are rare enough."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable
from pathlib import Path


def options(description: str | None) -> argparse.ArgumentParser:
    """The options of a simulation, with its docstring as the description."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    return parser


def exit_above_level(shares: Iterable[float], repetitions: int, event: str) -> None:
    """Exits with 1 if an event that should have a probability of 5% is more frequent, beyond two standard errors.

    Args:
        shares: How often it occurred, by setting.
        repetitions: Repetitions in each setting.
        event: What it is, as the beginning of a sentence.
    """
    most = 0.05 + 2 * math.sqrt(0.05 * 0.95 / repetitions)
    if max(shares) > most:
        sys.exit(f"{event} in more than 5% ({most:.1%} with the chance of the simulation).")
