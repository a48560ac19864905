"""Which plugins to use besides kdprobe's own."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kdprobe.errors import KdprobeError
from kdprobe.host.candidates import BUILTIN, Candidate, builtin_candidates, folder_candidates, installed_candidates

if TYPE_CHECKING:
    from kdprobe.host.provider import Provider

BLOCK = "KDPROBE_BLOCK"
STRICT = "KDPROBE_STRICT_PLUGINS"


@dataclass(frozen=True)
class Choice:
    """What the command line and the environment say about plugins.

    Attributes:
        none: Leave out all plugins but kdprobe's own (`--no-plugins`).
        folder: A folder of plugins to use besides the installed ones (`--plugins-dir`), or `None`.
        blocked: Names of plugins or their distributions to leave out (`KDPROBE_BLOCK`).
        strict: Whether an unusable plugin is an error (`KDPROBE_STRICT_PLUGINS`).
    """

    none: bool = False
    folder: Path | None = None
    blocked: frozenset[str] = frozenset()
    strict: bool = False

    @classmethod
    def of_environment(cls, *, none: bool = False, folder: Path | None = None) -> Self:
        """Combines the command line's choice with that of the environment."""
        blocked = frozenset(re.split(r"[,\s]+", os.environ.get(BLOCK, ""))) - {""}
        return cls(none, folder, blocked, os.environ.get(STRICT, "") not in {"", "0"})

    def candidates(self) -> list[Candidate]:
        """All candidates: built-ins, installed plugins, and those of the folder.

        Raises:
            UsageError: The folder does not exist.
        """
        local = folder_candidates(self.folder) if self.folder else ()
        return [*builtin_candidates(), *installed_candidates(), *local]

    def reason_to_skip(self, candidate: Candidate) -> str:
        """Why a candidate is not even loaded; empty if it may be."""
        if self.none and candidate.source != BUILTIN:
            return "Excluded by --no-plugins."
        if self.blocked & {candidate.name, candidate.source}:
            return f"Excluded by {BLOCK}."
        return ""

    def enforce(self, providers: Sequence[Provider]) -> None:
        """Refuses unusable plugins if that is wanted.

        Raises:
            KdprobeError: There are unusable plugins.
        """
        unusable = [provider for provider in providers if provider.status not in {"ok", "blocked"}]
        if self.strict and unusable:
            listed = "; ".join(f"{provider.name} is {provider.status}: {provider.reason}" for provider in unusable)
            raise KdprobeError(f"{STRICT} is set, but not every plugin can be used. {listed}")
