"""What is left of a run, as words."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from kdprobe.words import duration


@dataclass(frozen=True)
class Remainder:
    """What is left of a run while one of its stages is made.

    Attributes:
        stage: Estimated seconds of this stage, or `None`.
        after: Estimated seconds of the stages after it.
        unknown: Number of stages after it without an estimate.
        started: When this stage began, by the monotonic clock.
    """

    stage: float | None
    after: float
    unknown: int
    started: float = field(default_factory=time.monotonic)

    def words(self, task: float = 0.0) -> str:
        """The time left for the run; empty if nothing is known about it.

        Args:
            task: Seconds left for the current task of the stage, according to its own progress; 0 if unknown.
        """
        # The stage may have further tasks; but if it takes longer than estimated, its own progress knows better.
        stage = max(task, (self.stage or 0.0) - (time.monotonic() - self.started))
        if not stage + self.after:
            return ""
        least = "at least" if self.unknown or self.stage is None else "about"
        return f"run: {least} {duration(stage + self.after)} left"
