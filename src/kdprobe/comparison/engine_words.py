"""The engine that wrote answers, in a few words."""

from __future__ import annotations

from collections.abc import Mapping


def engine_words(conditions: Mapping[str, Mapping[str, str]]) -> str:
    """The engine, its version, and how it kept the weights, as in `vllm 0.32.0, bfloat16`; empty if unknown.

    Args:
        conditions: How answers were generated, as in `Outputs`.
    """
    decoding = conditions.get("decoding", {})
    if "engine" not in decoding:
        return ""
    name = decoding["engine"]
    version = conditions.get("versions", {}).get(name)
    parts = [f"{name} {version}" if version else name, decoding.get("dtype", ""), decoding.get("weights", "")]
    return ", ".join(part for part in parts if part)
