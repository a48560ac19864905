"""Attention as people save it, from real forward passes: batches with padding, caches, generation, encoders."""

import json

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

import kdprobe
from kdprobe.errors import UsageError
from kdprobe.probing.patterns.files import read_patterns

LAYERS, HEADS, VOCABULARY = 3, 4, 50
LENGTHS = (9, 6, 4)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        attn_implementation="eager",
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def prompts():
    random = torch.Generator().manual_seed(1)
    return [torch.randint(1, VOCABULARY, (length,), generator=random) for length in LENGTHS]


@pytest.fixture(scope="module")
def alone(model, prompts):
    """The attention of each prompt by itself, `[layer, head, query, key]`."""
    with torch.no_grad():
        outputs = [model(prompt[None], output_attentions=True).attentions for prompt in prompts]
    return [torch.cat(layers).numpy() for layers in outputs]


def batch(prompts, side):
    """Padded token ids and their mask."""
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        where = slice(longest - len(prompt), None) if side == "left" else slice(0, len(prompt))
        ids[row, where], mask[row, where] = prompt, 1
    return ids, mask


def recorded(model, ids, mask):
    with torch.no_grad():
        return model(ids, attention_mask=mask, output_attentions=True).attentions


def one(path):
    (file,) = read_patterns({"mine": path})
    return file


def entropy(pattern):
    """Mean over queries, of every head, by numpy."""
    logs = np.log(np.where(pattern > 0, pattern, 1))
    return -(pattern * logs).sum(-1).mean(-1)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("masked", [True, False])
def test_padding_is_left_out_with_a_mask_and_without(model, prompts, alone, tmp_path, side, masked):
    ids, mask = batch(prompts, side)
    layers = {f"layer_{layer}": each.numpy() for layer, each in enumerate(recorded(model, ids, mask))}
    given = {"attention_mask": mask.numpy(), "input_ids": ids.numpy()} if masked else {}
    np.savez(tmp_path / "dump.npz", **layers, **given)
    probed = kdprobe.probe(patterns={"mine": tmp_path / "dump.npz"}, progress=False)
    (file,) = probed.patterns
    for prompt, expected, tokens in zip(file.prompts, alone, prompts, strict=True):
        np.testing.assert_allclose(prompt.pattern, expected, atol=1e-5)
        assert prompt.causal
        assert prompt.tokens is None if not masked else prompt.tokens.tolist() == tokens.tolist()
    table = probed.table("heads_by_problem").query("metric == 'entropy'")
    for index, expected in enumerate(alone):
        found = table[table.problem == f"prompt {index}"].value.to_numpy()
        np.testing.assert_allclose(found, entropy(expected).ravel(), rtol=1e-4)
    codes = [finding.code for finding in probed.findings]
    assert codes == ["few-probed-problems"] if masked else codes == ["padding-left-out", "few-probed-problems"]
    if not masked:
        assert "mine: 8 positions in 2 prompts" in probed.findings[0].evidence


def test_a_mask_that_the_model_did_not_use_is_refused(model, prompts, tmp_path):
    ids, mask = batch(prompts, "left")
    wrong = recorded(model, ids, torch.ones_like(mask))
    np.savez(tmp_path / "a.npz", **{f"layer_{n}": a.numpy() for n, a in enumerate(wrong)}, attention_mask=mask.numpy())
    with pytest.raises(UsageError, match="attend to positions that the attention mask marks as padding"):
        one(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", **{f"layer_{n}": a.numpy() for n, a in enumerate(wrong)}, input_ids=ids.numpy())
    probed = kdprobe.probe(patterns={"b": tmp_path / "b.npz"}, progress=False)
    assert "repeated-tokens" in [finding.code for finding in probed.findings]


def test_one_array_with_prompts_and_layers_needs_tokens_to_tell_them_apart(model, prompts, alone, tmp_path):
    ids, mask = batch(prompts, "right")
    stacked = torch.stack(recorded(model, ids, mask)).numpy()  # [layer, prompt, head, query, key], 3 of each
    np.save(tmp_path / "a.npy", stacked)
    with pytest.raises(UsageError, match="it is unclear which axis counts the prompts"):
        one(tmp_path / "a.npy")
    two = stacked[:, :2]
    for array in (two, two.swapaxes(0, 1)):
        np.savez(tmp_path / "b.npz", attention=array, input_ids=ids[:2].numpy())
        for prompt, expected in zip(one(tmp_path / "b.npz").prompts, alone, strict=False):
            np.testing.assert_allclose(prompt.pattern, expected, atol=1e-5)


def test_a_folder_with_a_file_for_each_prompt(alone, prompts, tmp_path):
    for index, (pattern, tokens) in enumerate(zip(alone, prompts, strict=True)):
        np.savez(tmp_path / f"gsm8k-{index + 9}.npz", attention=pattern, input_ids=tokens.numpy())
    file = one(tmp_path)
    assert [prompt.name for prompt in file.prompts] == ["gsm8k-9", "gsm8k-10", "gsm8k-11"]
    for prompt, expected in zip(file.prompts, alone, strict=True):
        np.testing.assert_array_equal(prompt.pattern, expected)


def test_what_a_model_returns_while_it_generates(model, prompts, tmp_path):
    prompt = prompts[0][None]
    generated = model.generate(
        prompt, max_new_tokens=5, min_new_tokens=5, do_sample=False, output_attentions=True,
        return_dict_in_generate=True, pad_token_id=0,
    )  # fmt: skip
    read = generated.sequences[:, :-1]
    expected = torch.cat(recorded(model, read, torch.ones_like(read))).numpy()
    (file,) = read_patterns({"mine": generated.attentions})
    np.testing.assert_allclose(file.prompts[0].pattern, expected, atol=1e-5)
    arrays = {
        f"step{step}_layer{layer}": array.numpy()
        for step, layers in enumerate(generated.attentions)
        for layer, array in enumerate(layers)
    }
    np.savez(tmp_path / "a.npz", **arrays, input_ids=generated.sequences.numpy())
    (found,) = one(tmp_path / "a.npz").prompts
    np.testing.assert_allclose(found.pattern, expected, atol=1e-5)
    assert found.tokens.tolist() == read[0].tolist()
    np.savez(tmp_path / "b.npz", **{key: array for key, array in arrays.items() if "step2_" not in key})
    with pytest.raises(UsageError, match="a step is missing"):
        one(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", **{key: array for key, array in arrays.items() if "step0_" not in key})
    with pytest.raises(UsageError, match="a step is missing"):
        one(tmp_path / "c.npz")


def test_a_cache_of_all_activations(tmp_path, model, prompts, alone):
    from safetensors.torch import save_file

    layers = recorded(model, prompts[0][None], torch.ones(1, LENGTHS[0], dtype=torch.long))
    cache = {}
    for layer, pattern in enumerate(layers):
        cache[f"blocks.{layer}.attn.hook_pattern"] = pattern.contiguous()
        cache[f"blocks.{layer}.attn.hook_attn_scores"] = pattern.log().clamp_min(-9).contiguous()
        cache[f"blocks.{layer}.hook_resid_pre"] = torch.randn(1, LENGTHS[0], LENGTHS[0])
    save_file(cache, tmp_path / "cache.safetensors")
    np.testing.assert_array_equal(one(tmp_path / "cache.safetensors").prompts[0].pattern, alone[0])


def test_a_bidirectional_model_is_measured_without_the_causal_metrics(tmp_path, run_cli):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        attn_implementation="eager", initializer_range=0.5,
    )  # fmt: skip
    ids = torch.arange(1, 8)[None]
    mask = torch.tensor([[1] * 5 + [0] * 2])
    with torch.no_grad():
        attentions = BertModel(config).eval()(ids, attention_mask=mask, output_attentions=True).attentions
    np.savez(tmp_path / "bert.npz", attention=torch.cat(attentions).numpy())
    printed = json.loads(run_cli("probe", "--patterns", tmp_path / "bert.npz", "--json"))
    assert [finding["code"] for finding in printed["findings"]] == ["padding-left-out", "bidirectional-attention"]
    measured = printed["patterns"][0]["per_layer"]
    assert not {"entropy_normalised", "self_attention_normalised", "mean_distance"} & measured.keys()
    expected = torch.cat(attentions).numpy()[:, :, :5, :5]
    np.testing.assert_allclose(measured["entropy"], entropy(expected).mean(-1), rtol=1e-5)


def test_averages_over_heads_are_not_heads(alone, tmp_path):
    means = alone[0].mean(axis=1)
    np.save(tmp_path / "a.npy", means)
    with pytest.raises(UsageError, match="averages over the heads of each layer"):
        one(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", **{f"layer_{layer}": matrix for layer, matrix in enumerate(means)})
    with pytest.raises(UsageError, match="an average over the heads of its layer"):
        one(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", **{f"head_{head}": matrix for head, matrix in enumerate(alone[0][1])})
    np.testing.assert_array_equal(one(tmp_path / "c.npz").prompts[0].pattern, alone[0][1:2])
    np.savez(tmp_path / "d.npz", layer_1=alone[0][1])
    np.testing.assert_array_equal(one(tmp_path / "d.npz").prompts[0].pattern, alone[0][1:2])


def test_packed_sequences_are_refused(alone, tmp_path):
    first, second = alone[1], alone[2]
    total = first.shape[-1] + second.shape[-1]
    packed = np.zeros((LAYERS, HEADS, total, total), dtype=np.float32)
    packed[..., : first.shape[-1], : first.shape[-1]] = first
    packed[..., first.shape[-1] :, first.shape[-1] :] = second
    np.save(tmp_path / "a.npy", packed)
    with pytest.raises(UsageError, match=r"No token from position 6 on .* several sequences are packed into one"):
        one(tmp_path / "a.npy")


def test_several_prompts_are_tested_like_problems(tmp_path):
    """A planted head: sharper on every one of 12 prompts; with the others unchanged, it alone moves."""
    random = np.random.default_rng(0)
    for name, power in (("before", 1.0), ("after", 3.0)):
        (tmp_path / name).mkdir()
        random = np.random.default_rng(0)
        for index in range(12):
            length = 8 + index
            weights = np.tril(random.random((2, 3, length, length)) + 0.05)
            weights[1, 2] **= power
            weights /= weights.sum(-1, keepdims=True)
            np.save(tmp_path / name / f"prompt_{index}.npy", weights)
    probed = kdprobe.probe(
        patterns={name: tmp_path / name for name in ("before", "after")},
        analyses=["heads", "divergence"],
        progress=False,
    )
    moved = probed.table("differences").query("moved == True")
    assert [(row.layer, row.head) for row in moved.itertuples()] == [(1, 2)]
    assert float(moved.p_over_problems.iloc[0]) < 0.05
    divergence = probed.table("jensen_shannon")
    assert divergence.loc[divergence.value.idxmax(), ["layer", "head"]].tolist() == [1, 2]
    assert divergence.value.gt(1e-9).sum() == 1


def test_prompts_must_be_the_same_to_be_compared(alone, prompts, tmp_path):
    np.savez(tmp_path / "a.npz", attention=alone[0], input_ids=prompts[0].numpy())
    np.savez(tmp_path / "b.npz", attention=alone[0], input_ids=prompts[0].flip(0).numpy())
    probed = kdprobe.probe(patterns=[str(tmp_path / "a.npz"), str(tmp_path / "b.npz")], progress=False)
    assert "b is not compared, because its layers, heads, prompts or tokens differ." in probed.statements["heads"]
    assert {"duplicate_token", "induction"} <= set(probed.table("heads").metric)
