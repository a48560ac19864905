"""A finding: what the reader must know before trusting results, or before paying for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something the reader must know before trusting the results.

    Attributes:
        code: The kind of finding; stable, for programs.
        evidence: What was found, and where.
        action: What to do about it.
    """

    code: str
    evidence: str
    action: str

    def __str__(self) -> str:
        return f"{self.code}: {self.evidence} {self.action}"
