import json
import os
from pathlib import Path

import numpy as np
import pytest

from kdprobe.cli import app
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.probing.patterns.files import read_patterns

DATA = os.environ.get("KDPROBE_TEST_DATA")
LAYERS, HEADS, LENGTH = 3, 2, 5


@pytest.fixture
def pattern():
    random = np.random.default_rng(0)
    weights = np.tril(random.random((LAYERS, HEADS, LENGTH, LENGTH)) + 0.1)
    return weights / weights.sum(-1, keepdims=True)


def read(path):
    (file,) = read_patterns([str(path)])
    (prompt,) = file.prompts
    return prompt.pattern


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("key", ["attention", "patterns", "whatever"])
def test_npz_of_any_key_and_width(tmp_path, pattern, dtype, key):
    np.savez(tmp_path / "a.npz", **{key: pattern.astype(dtype), "input_ids": np.arange(LENGTH)})
    found = read(tmp_path / "a.npz")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, pattern, atol=1e-3 if dtype == "float16" else 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_safetensors_of_any_width(tmp_path, pattern, dtype):
    import torch
    from safetensors.torch import save_file

    save_file({"attention": torch.tensor(pattern).to(getattr(torch, dtype))}, tmp_path / "a.safetensors")
    np.testing.assert_allclose(read(tmp_path / "a.safetensors"), pattern, atol=3e-3)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_batch_axis_of_one_is_taken_off(tmp_path, pattern, axis):
    np.save(tmp_path / "a.npy", np.expand_dims(pattern, axis))
    np.testing.assert_allclose(read(tmp_path / "a.npy"), pattern, atol=1e-6)


@pytest.mark.parametrize("name", ["layer_{}", "model.layers.{}.self_attn", "{}", "run7_layer{}_attn"])
@pytest.mark.parametrize("lead", [(), (None,)])
def test_an_array_a_layer_in_the_order_of_their_numbers(tmp_path, pattern, name, lead):
    many = np.concatenate([pattern] * 4)  # twelve layers: by text, 10 would come before 2
    for layer, matrix in enumerate(many):
        np.save(tmp_path / f"{name.format(layer)}.npy", matrix[lead])
    np.testing.assert_allclose(read(tmp_path), many, atol=1e-6)


def test_a_tree_with_an_array_a_head(tmp_path, pattern):
    for layer, heads in enumerate(pattern):
        (tmp_path / f"layer_{layer}").mkdir()
        for head, matrix in enumerate(heads):
            np.save(tmp_path / f"layer_{layer}" / f"head_{head}.npy", matrix)
    np.testing.assert_allclose(read(tmp_path), pattern, atol=1e-6)


def test_names_are_given_or_the_files(tmp_path, pattern):
    np.save(tmp_path / "a.npy", pattern)
    np.save(tmp_path / "b=c.npy", pattern)
    files = read_patterns([str(tmp_path / "a.npy"), f"mine={tmp_path / 'a.npy'}", str(tmp_path / "b=c.npy")])
    assert [file.name for file in files] == ["a", "mine", "b=c"]


def refused(tmp_path, words, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UsageError, match=words):
        read(tmp_path / "a.npz")


def test_what_is_no_attention_is_told_in_a_sentence(tmp_path, pattern):
    refused(tmp_path, r"contains no attention patterns \(it contains a \[3, 4\]\)", a=np.zeros((3, 4)))
    refused(tmp_path, "several pattern arrays: a, b", a=pattern, b=pattern)
    refused(tmp_path, "do not sum to one over keys: layer 0, head 0, query 4", a=np.tril(np.ones_like(pattern)))
    refused(tmp_path, "NaN or infinity", a=np.where(pattern > 0.9, np.nan, pattern))
    refused(tmp_path, "negative weights", a=-pattern)
    refused(tmp_path, "dtype int64", a=np.ones((LAYERS, HEADS, 1, 1), dtype=int))
    refused(tmp_path, "different shapes", layer_0=pattern[0], layer_1=pattern[1, :, 1:, 1:])
    refused(tmp_path, "with gaps or duplicates", layer_0=pattern[0], layer_2=pattern[1])
    refused(tmp_path, "unclear whether the numbers .* refer to layers, heads or prompts", a_0=pattern, a_1=pattern)
    refused(tmp_path, "differ in how many numbers they contain", first=pattern[0], second=pattern[1], x3=pattern[2])


@pytest.mark.parametrize(("key", "called"), [("input_ids", "tokens"), ("attention_mask", "attention masks")])
def test_a_wrong_number_of_tokens_or_masks_is_told_by_its_name(tmp_path, pattern, key, called):
    rows = {key: np.ones((3, LENGTH), dtype=int)}
    prompts = {f"prompt_{index}": pattern for index in range(4)}
    refused(tmp_path, f"contains patterns for 4 prompts, but {called} for 3", **prompts, **rows)
    right = {"input_ids": np.ones((4, LENGTH), dtype=int)}
    refused(tmp_path, f"contains patterns for 4 prompts, but {called} for 3", **prompts, **{**right, **rows})
    layers = {f"layer_{layer}": np.stack([pattern[layer]] * 4) for layer in range(LAYERS)}
    refused(tmp_path, f"layer_0 in .* for 4 prompts, but the file contains {called} for 3", **layers, **rows)
    layers = {f"layer_{layer}": pattern[layer] for layer in range(LAYERS)}
    refused(tmp_path, f"contains {called} for 3 prompts, but layer_0 has no prompt axis", **layers, **rows)


def test_an_axis_of_prompts_in_an_array_of_one_prompt_is_told(tmp_path, pattern):
    arrays = {f"prompt_0_layer_{layer}": np.stack([pattern[layer]] * 2) for layer in range(LAYERS)}
    refused(tmp_path, "for 2 prompts, but its name is that of a single prompt", **arrays)


def test_files_that_cannot_be_read_are_told(tmp_path, pattern):
    np.savez(tmp_path / "pickled.npz", attention=np.array([{"a": 1}], dtype=object))
    (tmp_path / "broken.npz").write_bytes(b"PK no zip")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    (tmp_path / "model.pt").touch()
    (tmp_path / "empty").mkdir()
    for name, words in {
        "pickled.npz": "pickled objects",
        "broken.npz": "damaged",
        "broken.safetensors": "damaged",
        "model.pt": "pickles are never loaded",
        "empty": "it contains nothing",
        "nowhere.npz": "does not exist",
    }.items():
        with pytest.raises(UsageError, match=words):
            read(tmp_path / name)
    np.save(tmp_path / "a.npy", pattern)
    with pytest.raises(UsageError, match="Two pattern files are both called 'a'"):
        read_patterns([str(tmp_path / "a.npy"), str(tmp_path / "a.npy")])


def test_files_of_other_shapes_are_not_compared(tmp_path, pattern, run_cli):
    np.save(tmp_path / "a{x}.npy", pattern)
    np.save(tmp_path / "b.npy", pattern[::-1])
    shorter = pattern[:, :, 1:, 1:] + 1e-3
    np.save(tmp_path / "c.npy", shorter / shorter.sum(-1, keepdims=True))
    arguments = [word for name in ("a{x}", "b", "c") for word in ("--patterns", tmp_path / f"{name}.npy")]
    found = json.loads(run_cli("probe", *arguments, "--json"))["analyses"]["heads"]
    assert set(found["moved"]) == {"b"}
    assert found["statements"][-1] == (
        "c is not compared, because its layers, heads, prompts or tokens differ from those of a{x}."
    )
    with pytest.raises(KdprobeError, match=r"'c' and 'a{x}' differ in their layers, heads, prompts or tokens"):
        app.main(args=["probe", *map(str, arguments), "--analysis", "divergence"], standalone_mode=False)


@pytest.mark.skipif(not DATA, reason="KDPROBE_TEST_DATA does not name the folder of test data")
def test_published_students_have_the_published_metrics_and_divergence(run_cli):
    folder = Path(DATA) / "paper" / "attention"
    published = json.loads((folder / "published_metrics.json").read_text())["per_layer"]
    files = [folder / f"{name}.npz" for name in published]
    arguments = [word for file in files for word in ("--patterns", file)]
    found = json.loads(run_cli("probe", *arguments, "--analysis", "divergence", "--json"))
    assert [(one["name"], one["file"]) for one in found["patterns"]] == [(file.stem, str(file)) for file in files]
    for one in found["patterns"]:
        for metric, expected in published[one["name"]].items():
            np.testing.assert_allclose(one["per_layer"][metric], expected, rtol=1e-5, err_msg=metric)
    matrices = np.stack([np.load(file)["attention"] for file in files]).astype(np.float64)
    variance = matrices.var(axis=0).mean(axis=(-2, -1))
    top = found["analyses"]["divergence"]["top"]
    assert len(top) == 10
    order = np.argsort(-variance, axis=None)[:10]
    assert [(one["layer"], one["head"]) for one in top] == [divmod(int(place), 32) for place in order]
    np.testing.assert_allclose([one["variance"] for one in top], variance.ravel()[order], rtol=1e-5)
