"""Which package provides what, so that an error about a missing plugin can say what to install."""

from __future__ import annotations

PACKAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "kdprobe-circuits": {
        "analyses": ("ov-copying", "successor-heads"),
        "head-metrics": ("rollout_to_numbers",),
    },
    "kdprobe-everyday": {"tasks": ("everyday", "everyday_kinds", "everyday_opposites", "everyday_sequences")},
    "kdprobe-openai": {"teachers": ("openai",)},
    "kdprobe-ray": {"executors": ("ray",)},
    "kdprobe-strategies": {
        "strategies": (
            "step-back",
            "plan-and-solve",
            "least-to-most",
            "analogical",
            "self-verification",
            "answer-order",
            "few-shot",
            "rationalise",
        ),
    },
    "kdprobe-trl": {"distillers": ("trl-on-policy",)},
    "kdprobe-vllm": {"engines": ("vllm",), "teachers": ("vllm",)},
    "kdprobe-word-problems": {
        "problem-sources": ("svamp", "asdiv", "multi-arith", "stories"),
        "extractors": ("last-calculation",),
    },
}
"""Packages in `plugins/` mapped to kinds and names."""


def package_of(kind: str, name: str) -> str | None:
    """The package that provides something, if kdprobe knows it."""
    return next((package for package, offers in PACKAGES.items() if name in offers.get(kind, ())), None)
