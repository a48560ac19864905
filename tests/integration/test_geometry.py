"""Changes in the circuits of the tiny model, against dense matrices of the merged model."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

ALL = ["q_proj", "k_proj", "v_proj", "o_proj"]
OPTIONS = {
    "lora": (ALL, {}),
    "queries alone": (["q_proj"], {}),
    "keys and outputs": (["k_proj", "o_proj"], {}),
    "values alone": (["v_proj"], {}),
    "with the mlp": ([*ALL, "up_proj"], {}),
    "rslora": (ALL, {"use_rslora": True, "r": 4}),
    "rank and alpha patterns": (
        ALL,
        {"rank_pattern": {"q_proj": 3, "layers.1.self_attn.v_proj": 1}, "alpha_pattern": {"k_proj": 9}},
    ),
    "full rank": (ALL, {"r": 40}),
}


def measured(student, circuits=("qk", "ov")):
    from kdprobe.probing.weights.geometry import circuit_changes

    table = circuit_changes([student]).table
    assert len(table) == 2 * 2 * 4
    return {name: table[table["circuit"] == name].sort_values(["layer", "head"]) for name in circuits}


def dense(student, update):
    """Relative changes `[layer, head]` in float64 from whole circuits, expanded so that nothing cancels."""
    base = {
        name: weight.double().numpy() for name, weight in load_file(student.base.path / "model.safetensors").items()
    }
    found = {"qk": [], "ov": []}
    for layer in range(2):
        w, d = {}, {}
        for name in "qkvo":
            key = f"model.layers.{layer}.self_attn.{name}_proj"
            w[name], d[name] = base[f"{key}.weight"], update(key, base[f"{key}.weight"])
        for head in range(4):
            own, shared = slice(8 * head, 8 * head + 8), slice(8 * (head // 2), 8 * (head // 2) + 8)
            for circuit, (left, dleft, right, dright) in {
                "qk": (w["q"][own].T, d["q"][own].T, w["k"][shared], d["k"][shared]),
                "ov": (w["o"][:, own], d["o"][:, own], w["v"][shared], d["v"][shared]),
            }.items():
                change = dleft @ right + left @ dright + dleft @ dright
                found[circuit].append(np.linalg.norm(change) / np.linalg.norm(left @ right))
    return found


def factors(student):
    """What peft's documentation says an adapter adds: alpha / r (rsLoRA: alpha / sqrt(r)) B A."""
    weights = load_file(student.adapter / "adapter_model.safetensors")
    config = json.loads((student.adapter / "adapter_config.json").read_text())

    def update(key, weight):
        a = weights.get(f"base_model.model.{key}.lora_A.weight")
        if a is None:
            return np.zeros_like(weight)
        b = weights[f"base_model.model.{key}.lora_B.weight"].double().numpy()
        alpha = next(
            (value for name, value in config["alpha_pattern"].items() if key.endswith(name)), config["lora_alpha"]
        )
        return alpha / (len(a) ** 0.5 if config["use_rslora"] else len(a)) * b @ a.double().numpy()

    return update


@pytest.mark.parametrize("case", OPTIONS)
def test_relative_changes_are_the_dense_ones(case, tiny_student):
    modules, options = OPTIONS[case]
    student = tiny_student(modules, **options)
    expected = dense(student, factors(student))
    for circuit, rows in measured(student).items():
        np.testing.assert_allclose(rows["relative"], expected[circuit], rtol=1e-6)
    assert max(expected["qk"]) > 0 or max(expected["ov"]) > 0


def test_dora_is_the_dense_change_of_the_turned_rows(tiny_student):
    student = tiny_student(ALL, use_dora=True)
    weights = load_file(student.adapter / "adapter_model.safetensors")
    plain = factors(student)

    def update(key, weight):
        magnitude = weights[f"base_model.model.{key}.lora_magnitude_vector"].double().numpy()
        turned = weight + plain(key, weight)
        return turned * (magnitude / np.linalg.norm(turned, axis=1))[:, None] - weight

    expected = dense(student, update)
    for circuit, rows in measured(student).items():
        np.testing.assert_allclose(rows["relative"], expected[circuit], rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"use_dora": True}], ids=["lora", "dora"])
def test_a_zero_adapter_changes_exactly_nothing(options, tiny_student):
    for rows in measured(tiny_student(ALL, size=0, **options)).values():
        assert (rows["change"] == 0).all()
        assert (rows["relative"] == 0).all()
        assert (rows["base"] > 0).all()


def test_a_model_that_was_trained_as_a_whole_is_compared_with_the_first(torch, tiny_student, tiny_record, tmp_path):
    from kdprobe.models.reference import resolve
    from kdprobe.probing.weights.geometry import circuit_changes
    from kdprobe.students.student import Student

    student = tiny_student(ALL)
    loaded = student.load(dtype="float32")
    loaded.model.save_pretrained(tmp_path / "merged")
    loaded.tokenizer.save_pretrained(tmp_path / "merged")
    whole = Student("whole", resolve(str(tmp_path / "merged")))
    table = circuit_changes([Student("base", tiny_record), student, whole]).table
    assert set(table["student"]) == {"trained", "whole"}
    by_student = [rows["relative"].to_numpy() for _, rows in table.groupby("student")]
    # Merged in float32, so the whole model's change is only known to rounding.
    np.testing.assert_allclose(*by_student, rtol=1e-4)
