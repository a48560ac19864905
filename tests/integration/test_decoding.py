"""Rows that leave the batch when they end: the tokens are the same as from `generate`."""

import pytest


@pytest.fixture(scope="module")
def tiny(torch, tiny_record):
    from kdprobe.models.load import load

    return load(tiny_record)


@pytest.fixture(scope="module")
def prompts(tiny, problems):
    """Left-padded prompts of different lengths."""
    from kdprobe.models.batching import left_padded
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.strategies.prompt_pair import bare

    texts = [prompt_ids(tiny.tokenizer, bare(problem)) for problem in problems]
    assert len({len(text) for text in texts}) > 1
    return left_padded(texts, tiny.tokenizer.pad_token_id, tiny.device)


def greedy(tiny, prompts, ends, **known):
    """`generate` alone, and ours: token ids `[batch, response]` and the length of each."""
    from kdprobe.evaluation.shrinking_batch import ShrinkingBatch

    ids, mask = prompts
    pad = tiny.tokenizer.pad_token_id
    settings = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": ends, "pad_token_id": pad, **known}
    theirs = tiny.model.generate(input_ids=ids, attention_mask=mask, **settings)
    steps = []
    batch = ShrinkingBatch(steps.append)
    ours = tiny.model.generate(input_ids=ids, attention_mask=mask, custom_generate=batch, **settings)
    return theirs[:, ids.shape[1] :].tolist(), ours[:, ids.shape[1] :].tolist(), batch.lengths, steps


def ends_of(tiny, prompts, *places):
    """Tokens that rows write at certain positions, to make them end there."""
    ids, mask = prompts
    free = tiny.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=24, do_sample=False, eos_token_id=[])
    written = free[:, ids.shape[1] :]
    return [int(written[row, place]) for row, place in places]


@pytest.mark.parametrize(
    ("places", "known"),
    [
        ([(0, 0), (3, 7)], {}),
        ([(0, 23), (5, 11), (2, 2)], {}),
        ([(1, 0), (4, 15)], {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3}),
        ([(1, 5)], {"min_new_tokens": 9}),
    ],
)
def test_greedy_tokens_are_those_of_generate(tiny, prompts, places, known):
    theirs, ours, lengths, steps = greedy(tiny, prompts, ends_of(tiny, prompts, *places), **known)
    assert ours == theirs
    assert len(set(lengths)) > 1
    # A step pays for the rows that still write.
    assert sum(steps) == sum(lengths) < len(steps) * len(lengths)
    assert steps == sorted(steps, reverse=True)


def test_rows_that_end_at_once_or_never_are_those_of_generate(tiny, prompts):
    everything = list(range(len(tiny.tokenizer)))
    theirs, ours, lengths, _ = greedy(tiny, prompts, everything)
    assert ours == theirs
    assert lengths == [1] * len(lengths)
    theirs, ours, lengths, _ = greedy(tiny, prompts, -1)
    assert ours == theirs
    assert lengths == [24] * len(lengths)


def test_lengths_count_the_end_and_no_padding(tiny, prompts):
    ends = ends_of(tiny, prompts, (0, 4), (3, 9))
    theirs, _, lengths, _ = greedy(tiny, prompts, ends)
    for row, length in zip(theirs, lengths, strict=True):
        expected = next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
        assert length == expected


def test_sampling_is_from_the_models_distribution(torch, tiny, prompts):
    from kdprobe.evaluation.shrinking_batch import ShrinkingBatch

    ids, mask = (part[:1].repeat(4000, 1) for part in prompts)
    torch.manual_seed(0)
    drawn = tiny.model.generate(
        input_ids=ids,
        attention_mask=mask,
        custom_generate=ShrinkingBatch(),
        max_new_tokens=1,
        do_sample=True,
        temperature=0.7,
        top_k=0,
        top_p=0.8,
        pad_token_id=tiny.tokenizer.pad_token_id,
    )[:, -1]
    with torch.inference_mode():
        logits = tiny.model(input_ids=ids[:1], attention_mask=mask[:1]).logits[0, -1].double() / 0.7
    shares = torch.bincount(drawn, minlength=len(logits)) / len(drawn)
    ranked, order = logits.softmax(-1).sort(descending=True)
    nucleus = ranked.cumsum(-1) - ranked < 0.8
    expected = torch.zeros_like(ranked).index_put((order[nucleus],), ranked[nucleus] / ranked[nucleus].sum())
    assert 1 < int(nucleus.sum()) < len(logits)
    assert float((shares - expected).abs().max()) < 0.03
    assert float(shares[expected == 0].sum()) == 0


def test_a_row_ends_with_a_stop_text_however_it_is_spelt(torch, tiny):
    from kdprobe.evaluation.shrinking_batch import StopTexts

    encode = tiny.tokenizer.encode
    prompt = encode("a\nQuestion: b")
    letters = [token for letter in "\nQuestion:" for token in encode(letter)]
    rows = [[*prompt, *encode("so\nQuestion:")], [*prompt, *letters], [*prompt, *encode("so Question:")]]
    for row, ended in zip(rows, (True, len(letters) <= len(encode("\nQuestion:")) + 2, False), strict=True):
        criterion = StopTexts(tiny.tokenizer, ["\nQuestion:"], len(prompt))
        assert criterion(torch.tensor([row]), None).tolist() == [ended]
    # What the prompt holds ends nothing.
    assert StopTexts(tiny.tokenizer, ["\nQuestion:"], len(prompt))(torch.tensor([prompt]), None).tolist() == [False]


def test_what_cannot_shrink_is_known(tiny):
    from transformers import GenerationConfig

    from kdprobe.evaluation.shrinking_batch import can_shrink

    kept = tiny.model.generation_config
    try:
        assert can_shrink(tiny.model)
        for known in ({"cache_implementation": "static"}, {"num_beams": 3}):
            tiny.model.generation_config = GenerationConfig(**known)
            assert not can_shrink(tiny.model)
    finally:
        tiny.model.generation_config = kept


SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 99}
FAMILIES = {
    "Qwen3": SHAPE | {"num_key_value_heads": 2, "head_dim": 8},
    "Mistral": SHAPE | {"num_key_value_heads": 2, "sliding_window": 8},
    "Gemma2": SHAPE | {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8},
    "GPTNeoX": SHAPE,
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99, "bos_token_id": 1, "eos_token_id": 1},
    "Mixtral": SHAPE | {"num_key_value_heads": 2, "num_local_experts": 4},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_write_what_generate_writes(family, torch):
    """Sliding windows, learned positions, experts; left-padded, some rows ending early."""
    import transformers

    from kdprobe.evaluation.batch_size import row_bytes
    from kdprobe.evaluation.shrinking_batch import ShrinkingBatch, can_shrink
    from kdprobe.models.load import LoadedModel

    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**FAMILIES[family], pad_token_id=0, initializer_range=0.5)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    assert can_shrink(model)
    ids = torch.randint(1, 99, (5, 12))
    mask = torch.ones_like(ids)
    for row, padded in enumerate((0, 3, 7, 1, 0)):
        ids[row, :padded], mask[row, :padded] = 0, 0
    settings = {"attention_mask": mask, "max_new_tokens": 20, "do_sample": False, "pad_token_id": 0}
    free = model.generate(ids, eos_token_id=[], **settings)[:, 12:]
    ends = {"eos_token_id": [int(free[0, 3]), int(free[2, 9])]}
    batch = ShrinkingBatch()
    ours = model.generate(ids, custom_generate=batch, **ends, **settings)
    assert torch.equal(ours, model.generate(ids, **ends, **settings))
    assert min(batch.lengths) < max(batch.lengths)
    assert row_bytes(LoadedModel(model, None, None, "float32"), [1] * 12, 20) > 32 * 2 * 32


def test_sampled_rows_do_not_depend_on_their_batch_even_if_it_cannot_shrink(tiny, monkeypatch):
    from kdprobe.evaluation.engines import builtin
    from kdprobe.evaluation.engines.engine import Decoding

    monkeypatch.setattr(builtin, "can_shrink", lambda _model: False)
    student = builtin.TransformersStudent(tiny)
    prompts = [tiny.tokenizer.encode(text) for text in ("Tom has 3 apples", "Ann buys 4", "One", "2 + 2 =")]
    settings = {"do_sample": True, "temperature": 1.0}
    decoding = Decoding(12, student.end_ids, settings=settings, seed=3, draws_by_row=True)
    together = student.decode(prompts, decoding, lambda _: None)
    assert len({tuple(answer.token_ids) for answer in together}) == len(prompts)
    assert student.decode(prompts[::-1], decoding, lambda _: None)[::-1] == together
    assert [student.decode([prompt], decoding, lambda _: None)[0] for prompt in prompts] == together
