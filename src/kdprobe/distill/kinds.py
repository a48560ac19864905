"""The available divergences, without torch: options are shown and validated before anything heavy is loaded."""

from __future__ import annotations

from typing import Literal

Kind = Literal["forward-kl", "reverse-kl", "skew-kl", "skew-reverse-kl", "jsd"]

PARAMETERS = {"skew-kl": ("skew", 0.1), "skew-reverse-kl": ("skew", 0.1), "jsd": ("beta", 0.5)}
"""The parameter of a divergence, and its default."""
