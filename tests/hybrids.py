"""Hybrids of a base and a student, made by hand from their state dicts: an independent reference for `circuits`."""

from __future__ import annotations

from typing import Any

import numpy as np

HEADS, SHARED, SIZE = 4, 2, 8
"""Query heads, key-value heads and the size of a head in the tiny models."""


def slices(architecture: str, kind: str, layer: int, head: int) -> list[tuple[str, Any]]:
    """Where a circuit is in a state dict: names of tensors, and indices into them."""
    own = slice(SIZE * head, SIZE * (head + 1))
    if architecture == "gpt2":
        return _gpt2(f"transformer.h.{layer}", kind, own)
    block = f"model.layers.{layer}"
    if kind == "mlp":
        names = ("gate_up_proj", "down_proj") if architecture == "phi3" else ("gate_proj", "up_proj", "down_proj")
        return [(f"{block}.mlp.{name}.weight", ...) for name in names]
    if kind == "o":
        return [(f"{block}.self_attn.o_proj.weight", (slice(None), own))]
    if architecture == "phi3":
        start = {"q": 0, "k": HEADS * SIZE, "v": (HEADS + SHARED) * SIZE}[kind]
        return [(f"{block}.self_attn.qkv_proj.weight", slice(start + own.start, start + own.stop))]
    return [(f"{block}.self_attn.{kind}_proj.weight", own)]


def _gpt2(block: str, kind: str, own: slice) -> list[tuple[str, Any]]:
    if kind == "mlp":
        return [(f"{block}.mlp.{name}.weight", ...) for name in ("c_fc", "c_proj")]
    if kind == "o":
        return [(f"{block}.attn.c_proj.weight", own)]
    start = "qkv".index(kind) * HEADS * SIZE
    return [(f"{block}.attn.c_attn.weight", (slice(None), slice(start + own.start, start + own.stop)))]


def heads_of(architecture: str, kind: str) -> int:
    """How many circuits of a kind a layer has."""
    if kind == "mlp":
        return 1
    return SHARED if kind in "kv" and architecture != "gpt2" else HEADS


def hybrid(before: dict[str, Any], after: dict[str, Any], places: list[tuple[str, Any]]) -> dict[str, Any]:
    """The first state dict, with the second one's values in these places."""
    state = {name: weight.clone() for name, weight in before.items()}
    for name, index in places:
        state[name][index] = after[name][index]
    return state


def log_p(model: Any, state: dict[str, Any], sequences: list[Any]) -> np.ndarray[Any, Any]:
    """Log-probability of gold solution and gold value under a state dict, `[problem, target]`, in nats."""
    import torch

    model.load_state_dict(state)
    found = []
    for sequence in sequences:
        ids = torch.tensor([[*sequence.prompt, *sequence.solution]])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0].double()
        by_token = logits[:-1].log_softmax(dim=-1).gather(1, ids[0, 1:, None])[:, 0]
        found.append([by_token[len(sequence.prompt) - 1 :].sum(), sum(by_token[token - 1] for token in sequence.value)])
    return np.array(found)
