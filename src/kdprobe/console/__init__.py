"""Progress and messages on stderr, data on stdout: rich on a terminal, plain lines elsewhere."""

from kdprobe.console.bars import Progress, progress
from kdprobe.console.messages import note

__all__ = ["Progress", "note", "progress"]
