"""Rows that leave the batch as they end: the tokens are those of `generate`."""

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
    """`generate` on its own, and ours; token ids `[batch, response]` and how long each is."""
    from kdprobe.evaluation.decoding import ShrinkingBatch

    ids, mask = prompts
    pad = tiny.tokenizer.pad_token_id
    settings = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": ends, "pad_token_id": pad, **known}
    theirs = tiny.model.generate(input_ids=ids, attention_mask=mask, **settings)
    steps = []
    batch = ShrinkingBatch(steps.append)
    ours = tiny.model.generate(input_ids=ids, attention_mask=mask, custom_generate=batch, **settings)
    return theirs[:, ids.shape[1] :].tolist(), ours[:, ids.shape[1] :].tolist(), batch.lengths, steps


def ends_of(tiny, prompts, *places):
    """Tokens that rows write at some places, to have them end there."""
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
    from kdprobe.evaluation.decoding import ShrinkingBatch

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
    from kdprobe.evaluation.decoding import StopTexts

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

    from kdprobe.evaluation.decoding import can_shrink

    kept = tiny.model.generation_config
    try:
        assert can_shrink(tiny.model)
        for known in ({"cache_implementation": "static"}, {"num_beams": 3}):
            tiny.model.generation_config = GenerationConfig(**known)
            assert not can_shrink(tiny.model)
    finally:
        tiny.model.generation_config = kept
