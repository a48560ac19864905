"""A batch's common prefix is read once: decoding and scoring give what they give without it."""

import inspect

import pytest

from architectures import ARCHITECTURES

SHARED = [7 + index % 40 for index in range(40)]
"""The beginning of all sequences."""
ENDINGS = [[50 + (start + index) % 12 for index in range(length)] for start, length in enumerate((2, 10, 11, 40, 50))]
"""If they are padded on the left, rows have 48, 40, 39, 10 and no tokens of padding."""
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
    padding = (mask == 0).sum(dim=1)
    with torch.inference_mode():
        begun = read_common_prefix(model, whole).begun(padding)
        start = begun.get_seq_length()
        assert start >= 32
        inputs = model.prepare_inputs_for_generation(
            ids, next_sequence_length=ids.shape[1] - start, attention_mask=mask, past_key_values=begun
        )
        if "position_ids" in inspect.signature(model.forward).parameters:
            inputs["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, start:]
        for found, sequence in zip(model(**inputs).logits[:, -1], whole, strict=True):
            alone = model(input_ids=torch.tensor([sequence])).logits[0, -1]
            torch.testing.assert_close(found, alone, atol=2e-4, rtol=1e-3)
        begun = read_common_prefix(model, whole).begun(padding)
        theirs = model.generate(input_ids=ids, attention_mask=mask, past_key_values=begun, **settings)
        batch = ShrinkingBatch()
        begun = read_common_prefix(model, whole).begun(padding)
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


def test_a_short_prefix_or_a_single_row_is_not_worth_a_pass(loaded):
    from kdprobe.models.forward.prefix import read_common_prefix

    model = loaded("llama")
    assert read_common_prefix(model, [[1, 2, 3, 4], [1, 2, 3, 5]]) is None
    assert read_common_prefix(model, sequences()[:1]) is None
    assert read_common_prefix(model, []) is None


def test_nothing_of_it_has_gradients(loaded, torch):
    from kdprobe.models.batching import right_padded
    from kdprobe.models.forward.prefix import logits_once, read_common_prefix

    model = loaded("llama").requires_grad_(True)
    states = [each for layer in read_common_prefix(model, sequences()).layers for each in layer]
    ids, mask = right_padded(sequences(), 0, model.device)
    logits = logits_once(model, ids, mask, torch.arange(len(SHARED), ids.shape[1]))
    assert not any(each.requires_grad for each in [*states, logits])
