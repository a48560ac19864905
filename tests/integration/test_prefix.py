"""A batch's common prefix is read once: decoding, scoring and training give what they give without it."""

import pytest

from architectures import ARCHITECTURES

SHARED = [7 + index % 40 for index in range(40)]
"""The beginning of all sequences."""
ENDINGS = [[50, 51], [52], [53, 54, 55, 56, 57], [58, 59, 60], [61] * 50]
WITHOUT = {"mamba", "dynamic"}
"""What does more than keep the keys and values of each token, or reads tokens in view of the whole length."""


@pytest.fixture(scope="module")
def loaded(model_of, other_families):
    """Loads a random model by its name."""
    from transformers import AutoModelForCausalLM

    def load(name):
        folder = model_of(name).path if name in ARCHITECTURES else other_families[name]
        return AutoModelForCausalLM.from_pretrained(folder).eval()

    return load


def sequences():
    return [[*SHARED, *ending] for ending in ENDINGS]


@pytest.mark.parametrize("name", [*ARCHITECTURES, "neo", "persimmon", "mamba", "dynamic"])
def test_logits_are_those_of_the_whole_sequences(name, loaded, torch):
    from kdprobe.models.batching import right_padded
    from kdprobe.models.forward.prefix import logits_once, read_common_prefix

    model = loaded(name)
    whole = sequences()
    with torch.inference_mode():
        prefix = read_common_prefix(model, whole)
        assert (prefix is None) == (name in WITHOUT)
        ids, mask = right_padded(whole, 0, model.device)
        keep = torch.arange(len(SHARED), ids.shape[1])
        found = logits_once(model, ids, mask, keep)
        for row, sequence in zip(found, whole, strict=True):
            alone = model(input_ids=torch.tensor([sequence])).logits[0, len(SHARED) :]
            torch.testing.assert_close(row[: len(alone)], alone, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", [*ARCHITECTURES, "neo", "persimmon"])
def test_decoding_continues_from_it(name, loaded, torch):
    """Rows whose padding is shorter than the prefix, as long, and longer."""
    from kdprobe.evaluation.shrinking_batch import ShrinkingBatch
    from kdprobe.models.batching import left_padded
    from kdprobe.models.forward.prefix import read_common_prefix

    model = loaded(name)
    whole = sequences()
    ids, mask = left_padded(whole, 0, model.device)
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": [], "pad_token_id": 0}
    with torch.inference_mode():
        begun = read_common_prefix(model, whole).begun((mask == 0).sum(dim=1))
        assert begun.get_seq_length() >= 32
        theirs = model.generate(input_ids=ids, attention_mask=mask, past_key_values=begun, **settings)
        batch = ShrinkingBatch()
        begun = read_common_prefix(model, whole).begun((mask == 0).sum(dim=1))
        ours = model.generate(
            input_ids=ids, attention_mask=mask, past_key_values=begun, custom_generate=batch, **settings
        )
        for row, sequence in enumerate(whole):
            alone = model.generate(input_ids=torch.tensor([sequence]), **settings)[0, len(sequence) :].tolist()
            assert theirs[row, ids.shape[1] :].tolist() == alone
            assert ours[row, ids.shape[1] :].tolist() == alone


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gemma3_text", "gpt_oss"])
def test_no_more_is_read_than_a_window_holds(name, model_of, torch):
    from transformers import AutoModelForCausalLM

    from kdprobe.models.batching import left_padded
    from kdprobe.models.forward.prefix import read_common_prefix

    model = AutoModelForCausalLM.from_pretrained(model_of(name, sliding_window=35).path).eval()
    whole = sequences()
    ids, mask = left_padded(whole, 0, model.device)
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": [], "pad_token_id": 0}
    with torch.inference_mode():
        prefix = read_common_prefix(model, whole)
        assert prefix.length == 34
        begun = prefix.begun((mask == 0).sum(dim=1))
        found = model.generate(input_ids=ids, attention_mask=mask, past_key_values=begun, **settings)
        for row, sequence in zip(found.tolist(), whole, strict=True):
            alone = model.generate(input_ids=torch.tensor([sequence]), **settings)[0, len(sequence) :].tolist()
            assert row[ids.shape[1] :] == alone


def loss_and_gradients(torch, model, ids, mask, keep, once):
    from kdprobe.models.forward.prefix import logits_once

    model.zero_grad()
    whole = model(input_ids=ids, attention_mask=mask).logits[:, keep]
    logits = logits_once(model, ids, mask, keep) if once else whole
    labels = ids[:, keep + 1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    loss = loss[mask[:, keep + 1].flatten().bool()].mean()
    loss.backward()
    return loss, {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "phi3", "olmo2"])
def test_gradients_pass_through_it(name, loaded, torch):
    from peft import LoraConfig, get_peft_model

    from kdprobe.models.batching import right_padded
    from kdprobe.models.forward.prefix import read_common_prefix

    modules = ["qkv_proj"] if name == "phi3" else ["q_proj", "v_proj"]
    model = get_peft_model(loaded(name), LoraConfig(r=2, target_modules=modules, init_lora_weights=False)).train()
    ids, mask = right_padded(sequences(), 0, torch.device("cpu"))
    keep = torch.arange(len(SHARED), ids.shape[1] - 1)
    assert read_common_prefix(model, sequences()).length == len(SHARED)
    expected, slopes = loss_and_gradients(torch, model, ids, mask, keep, once=False)
    found, ours = loss_and_gradients(torch, model, ids, mask, keep, once=True)
    torch.testing.assert_close(found, expected)
    assert ours.keys() == slopes.keys()
    for weight, slope in slopes.items():
        assert slope.abs().max() > 0
        torch.testing.assert_close(ours[weight], slope, atol=1e-5 * float(slope.abs().max()), rtol=1e-3)


def test_dropout_differs_from_row_to_row(loaded, torch):
    """So the prefix is not shared in training with dropout, but it is afterwards."""
    from peft import LoraConfig, get_peft_model

    from kdprobe.models.forward.prefix import read_common_prefix

    lora = LoraConfig(r=2, target_modules=["q_proj"], lora_dropout=0.1)
    model = get_peft_model(loaded("llama"), lora)
    assert read_common_prefix(model.train(), sequences()) is None
    assert read_common_prefix(model.eval(), sequences()) is not None
    assert read_common_prefix(loaded("gpt2").train(), sequences()) is None


def test_a_short_prefix_or_a_single_row_is_not_worth_a_pass(loaded):
    from kdprobe.models.forward.prefix import read_common_prefix

    model = loaded("llama")
    assert read_common_prefix(model, [[1, 2, 3, 4], [1, 2, 3, 5]]) is None
    assert read_common_prefix(model, sequences()[:1]) is None
    assert read_common_prefix(model, []) is None
