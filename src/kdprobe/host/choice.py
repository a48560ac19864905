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
    """The choice of plugins on the command line and in the environment.

    Attributes:
        none: Use only kdprobe's own plugins (`--no-plugins`).
        folder: A folder of additional plugins (`--plugins-dir`), or `None`.
        blocked: Names of plugins or their distributions to exclude (`KDPROBE_BLOCK`).
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
        """Why a candidate is not even loaded; empty if it is."""
        if self.none and candidate.source != BUILTIN:
            return "Excluded by --no-plugins."
        if self.blocked & {candidate.name, candidate.source}:
            return f"Excluded by {BLOCK}."
        return ""

    def enforce(self, providers: Sequence[Provider]) -> None:
        """Rejects unusable plugins in strict mode.

        Raises:
            KdprobeError: There are unusable plugins.
        """
        unusable = [provider for provider in providers if provider.status not in {"ok", "blocked"}]
        if self.strict and unusable:
            listed = "; ".join(f"{provider.name} is {provider.status}: {provider.reason}" for provider in unusable)
            raise KdprobeError(f"{STRICT} is set, but not every plugin can be used. {listed}")
