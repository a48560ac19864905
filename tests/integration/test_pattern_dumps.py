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
NOT_COMPARED = "b is not compared, because its layers, heads, prompts or tokens differ from those of a."


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
        found = table[table.problem == f"prompt_{index}"].value.to_numpy()
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
    with pytest.raises(UsageError, match="it is unclear which axis is the prompt axis"):
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
    with pytest.raises(UsageError, match="or an average over the heads of each layer"):
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
    with pytest.raises(UsageError, match=r"no token from position 6 onwards .* several sequences are packed into one"):
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
    assert NOT_COMPARED in probed.statements["heads"]
    assert {"duplicate_token", "induction"} <= set(probed.table("heads").metric)


def random_patterns(layers=2, heads=3, length=5, seed=0):
    weights = np.tril(np.random.default_rng(seed).random((layers, heads, length, length)) + 0.1)
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def codes(**files):
    return [finding.code for finding in kdprobe.probe(patterns=files, progress=False).findings]


@pytest.mark.parametrize("lead", [(), (None,)])
def test_a_folder_with_an_archive_for_each_layer_is_one_prompt(tmp_path, lead):
    many = np.concatenate([random_patterns(seed=seed) for seed in range(6)])  # twelve layers: by text, 10 precedes 2
    for layer, array in enumerate(many):
        saved(tmp_path / f"layer_{layer}.npz", attention=array[lead])
    saved(tmp_path / "tokens.npz", input_ids=np.arange(5))
    (prompt,) = one(tmp_path).prompts
    np.testing.assert_array_equal(prompt.pattern, many)
    assert prompt.tokens.tolist() == [0, 1, 2, 3, 4]


def test_prompts_are_known_by_the_numbers_in_the_file(tmp_path):
    first, second, third = (random_patterns(seed=seed) for seed in range(3))
    a = saved(tmp_path / "a.npz", prompt_0=first, prompt_1=second)
    b = saved(tmp_path / "b.npz", prompt_1=second, prompt_2=third)
    assert [prompt.name for prompt in one(b).prompts] == ["prompt_1", "prompt_2"]
    probed = kdprobe.probe(patterns={"a": a, "b": b}, progress=False)
    assert NOT_COMPARED in probed.statements["heads"]
    (tmp_path / "c").mkdir()
    for index, pattern in enumerate((first, second)):
        saved(tmp_path / "c" / f"prompt_{index}.npz", attention=pattern)
    probed = kdprobe.probe(patterns={"a": a, "c": tmp_path / "c"}, progress=False)
    assert not any("not compared" in sentence for sentence in probed.statements["heads"])


def test_layers_that_do_not_begin_at_zero_are_reported_and_not_compared_with_others(tmp_path):
    pattern = random_patterns(layers=4)
    a = saved(tmp_path / "a.npz", layer_0=pattern[0], layer_1=pattern[1])
    b = saved(tmp_path / "b.npz", layer_2=pattern[2], layer_3=pattern[3])
    probed = kdprobe.probe(patterns={"a": a, "b": b}, progress=False)
    assert NOT_COMPARED in probed.statements["heads"]
    (finding,) = probed.findings
    assert finding.code == "renumbered-heads"
    assert "(b: layer 2, head 0)" in finding.evidence


def test_what_is_generated_after_the_end_of_an_answer_is_reported(tmp_path):
    rows = {f"step_0_layer_{layer}": random_patterns(2, 2, 3) for layer in range(2)}  # [prompt, head, query, key]
    for step in range(1, 5):
        row = np.full((2, 2, 1, 3 + step), 1 / (3 + step), dtype=np.float32)
        rows |= {f"step_{step}_layer_{layer}": row for layer in range(2)}
    tokens = np.array([[5, 6, 7, 8, 9, 8, 9, 5], [5, 6, 7, 4, 0, 0, 0, 0]])
    mask = np.ones((2, 3), dtype=int)
    for given in ({"input_ids": tokens}, {"input_ids": tokens, "attention_mask": mask}):
        assert "repeated-tokens" in codes(a=saved(tmp_path / "a.npz", **rows, **given))
    assert "unknown-ends" in codes(a=saved(tmp_path / "a.npz", **rows, attention_mask=mask))
    both = {f"{kind}_{key}": row for kind in ("base", "tuned") for key, row in rows.items()}
    with pytest.raises(UsageError, match=r"Two arrays in .* hold the same step"):
        one(saved(tmp_path / "b.npz", **both))


def test_a_mask_must_fit_unless_something_was_generated(tmp_path):
    pattern = random_patterns(length=6)
    with pytest.raises(UsageError, match="has 4 positions, but the patterns have 6"):
        one(saved(tmp_path / "a.npz", attention=pattern, attention_mask=np.ones(4, dtype=int)))
    with pytest.raises(UsageError, match="a prompt consists entirely of padding"):
        one(saved(tmp_path / "b.npz", attention=pattern, attention_mask=np.zeros(6, dtype=int)))
    with pytest.raises(UsageError, match=r"attention_mask in .* has dtype int64 and shape \[1, 1, 6, 6\]"):
        one(saved(tmp_path / "c.npz", attention=pattern, attention_mask=np.ones((1, 1, 6, 6), dtype=int)))


@pytest.mark.parametrize(
    "name", ["H{head}_L{layer}", "L{layer}_H{head}", "h{head}_layer{layer}", "head{head}_block{layer}"]
)
def test_letters_for_layers_and_heads_are_read_in_any_order(tmp_path, name):
    pattern = random_patterns(layers=3, heads=4)
    arrays = {name.format(layer=layer, head=head): pattern[layer, head] for layer in range(3) for head in range(4)}
    np.testing.assert_array_equal(one(saved(tmp_path / "a.npz", **arrays)).prompts[0].pattern, pattern)


def test_sharp_attention_is_no_padding(tmp_path):
    itself = np.eye(5, dtype=np.float32)[None, None]
    alone = itself.copy()
    alone[..., 4, :] = [0.0, 0.25, 0.25, 0.25, 0.25]
    first_unattended = random_patterns(1, 1)
    first_unattended[..., 1:, 0] = 0
    first_unattended /= first_unattended.sum(-1, keepdims=True)
    for pattern in (itself, alone, first_unattended):
        np.save(tmp_path / "a.npy", pattern)
        (prompt,) = one(tmp_path / "a.npy").prompts
        assert prompt.padding == (0, 0)
        assert prompt.pattern.shape[-1] == 5


def test_even_sequences_are_packed_and_overflow_is_no_padding(tmp_path):
    even = np.tril(np.ones((4, 4), dtype=np.float32))
    even /= even.sum(-1, keepdims=True)
    packed = np.zeros((1, 1, 8, 8), dtype=np.float32)
    packed[..., :4, :4] = packed[..., 4:, 4:] = even
    np.save(tmp_path / "a.npy", packed)
    with pytest.raises(UsageError, match="several sequences are packed into one"):
        one(tmp_path / "a.npy")
    overflowed = random_patterns()
    overflowed[..., 3:, :] = np.nan
    np.save(tmp_path / "b.npy", overflowed)
    with pytest.raises(UsageError, match="contain NaN or infinity"):
        one(tmp_path / "b.npy")


@pytest.mark.parametrize("masked", [np.nan, 0.0])
def test_rows_of_masked_queries_may_be_nan_or_empty(tmp_path, masked):
    pattern = random_patterns(length=4)
    padded = np.zeros((2, 3, 6, 6), dtype=np.float32)
    padded[..., :2, :] = masked
    padded[..., 2:, 2:] = pattern
    np.save(tmp_path / "a.npy", padded)
    (prompt,) = one(tmp_path / "a.npy").prompts
    assert prompt.padding == (2, 0)
    np.testing.assert_array_equal(prompt.pattern, pattern)


def test_only_attention_of_the_model_on_itself_is_taken(tmp_path):
    pattern, other = random_patterns(), random_patterns(seed=1)
    for arrays in (
        {"attentions": pattern, "cross_attentions": other},
        {"attention": pattern, "logits": np.ones((1, 1, 50)), "norms": np.ones((3, 1, 64))},
    ):
        np.testing.assert_array_equal(one(saved(tmp_path / "a.npz", **arrays)).prompts[0].pattern, pattern)
    with pytest.raises(UsageError, match="contains no attention patterns"):
        one(saved(tmp_path / "b.npz", last=np.full((2, 3, 1, 4), 0.25)))
    with pytest.raises(UsageError, match="contains no attention patterns"):
        one(saved(tmp_path / "c.npz", none=np.zeros((2, 0, 4, 4))))


def test_a_folder_keeps_every_file_or_is_refused(tmp_path):
    from safetensors.numpy import save_file

    for index in range(2):
        (tmp_path / "nested" / f"item_{index}").mkdir(parents=True)
        saved(tmp_path / "nested" / f"item_{index}" / "dump.npz", attention=random_patterns(seed=index))
    assert [prompt.name for prompt in one(tmp_path / "nested").prompts] == ["item_0/dump", "item_1/dump"]
    (tmp_path / "twice").mkdir()
    saved(tmp_path / "twice" / "prompt_0.npz", attention=random_patterns())
    save_file({"attention": random_patterns(seed=1)}, tmp_path / "twice" / "prompt_0.safetensors")
    with pytest.raises(UsageError, match="two files called 'prompt_0'"):
        one(tmp_path / "twice")
    np.save(tmp_path / "nested" / "more.npy", random_patterns())
    with pytest.raises(UsageError, match=r"contains \.npy files and others"):
        one(tmp_path / "nested")


def test_a_trace_above_the_diagonal_is_rounding(tmp_path):
    pattern = random_patterns()
    pattern[0, 0, 0, 4] = 1e-9
    np.save(tmp_path / "a.npy", pattern)
    assert one(tmp_path / "a.npy").prompts[0].causal


def test_tokens_of_each_prompt_may_lie_beside_it(tmp_path):
    arrays = {}
    for index, length in enumerate((5, 4)):
        arrays[f"prompt_{index}/attention"] = random_patterns(length=length)
        arrays[f"prompt_{index}/input_ids"] = np.arange(length) + 10 * index
    prompts = one(saved(tmp_path / "a.npz", **arrays)).prompts
    assert [prompt.tokens.tolist() for prompt in prompts] == [[0, 1, 2, 3, 4], [10, 11, 12, 13]]


def test_an_axis_of_prompts_beside_layers_and_heads_in_the_names(tmp_path):
    pattern = random_patterns()
    arrays = {f"layer_{layer}_head_{head}": pattern[layer, head][None] for layer in range(2) for head in range(3)}
    np.testing.assert_array_equal(one(saved(tmp_path / "a.npz", **arrays)).prompts[0].pattern, pattern)


def test_what_models_return_for_several_prompts(model, prompts, alone):
    with torch.no_grad():
        returned = [model(prompt[None], output_attentions=True).attentions for prompt in prompts]
    (file,) = read_patterns({"mine": returned})
    for prompt, expected in zip(file.prompts, alone, strict=True):
        np.testing.assert_array_equal(prompt.pattern, expected)
    (file,) = read_patterns({"mine": tuple(layer.bfloat16() for layer in returned[0])})
    np.testing.assert_allclose(file.prompts[0].pattern, alone[0], atol=4e-3)
    (file,) = read_patterns({"mine": alone})
    assert [prompt.pattern.shape[-1] for prompt in file.prompts] == [9, 6, 4]
    with pytest.raises(UsageError, match="unclear whether the arrays in the list 'mine' are layers or prompts"):
        read_patterns({"mine": [alone[0], alone[0]]})
