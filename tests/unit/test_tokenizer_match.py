"""When the ids of two tokenizers mean the same, and when they do not."""

from types import SimpleNamespace

import pytest

from kdprobe.models.outline.tokenizers import TokenizerMatch, match_tokenizers

CORPUS = ["how many apples and pears does she have in all", "he buys ten pens and sells four of them"] * 3


def build(corpus=CORPUS, special=("<end>",), normaliser=None, size=330):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    base = Tokenizer(models.BPE())
    base.normalizer = normaliser
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    base.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=base, eos_token=special[0])


@pytest.fixture(scope="module")
def plain():
    return build()


def test_a_tokenizer_is_itself(plain):
    assert match_tokenizers(plain, build()) == TokenizerMatch()


def test_added_tokens_are_foreign_to_whoever_lacks_them(plain):
    more = build()
    more.add_tokens(["<think>", "</think>"])
    added = {more.convert_tokens_to_ids(token) for token in ("<think>", "</think>")}
    assert match_tokenizers(more, plain) == TokenizerMatch(foreign=frozenset(added))
    # Whoever has more reads all that is written without them.
    assert match_tokenizers(plain, more) == TokenizerMatch()


def test_an_id_that_was_named_otherwise_is_foreign(plain):
    ours, theirs = build(), build()
    ours.add_tokens(["<tool>"])
    theirs.add_tokens(["<reserved_0>"])
    assert match_tokenizers(ours, theirs).foreign == {len(plain)}
    assert not match_tokenizers(ours, theirs).difference


def test_one_other_token_is_spoken_of_in_the_singular(plain):
    other = build()
    vocabulary = {token: text for text, token in plain.get_vocab().items()}
    changed = SimpleNamespace(
        get_vocab=lambda: {("\u2603" if token == 300 else text): token for token, text in vocabulary.items()},
        backend_tokenizer=other.backend_tokenizer,
        added_tokens_decoder=other.added_tokens_decoder,
    )
    assert match_tokenizers(changed, plain).difference.endswith(" ids stands for a different token in each")


def test_other_vocabularies_are_other_tokenizers(plain):
    other = build(["zebras zigzag around azure azaleas and amazing mazes"] * 3)
    assert "ids stand for different tokens" in match_tokenizers(plain, other).difference


def test_a_longer_vocabulary_of_the_same_beginning_is_another_tokenizer():
    assert (
        match_tokenizers(build(size=300), build()).difference == "they merge characters into tokens by different rules"
    )


def test_other_rules_are_other_tokenizers(plain):
    from tokenizers import normalizers

    assert match_tokenizers(plain, build(normaliser=normalizers.Lowercase())).difference == (
        "they have different normalisers"
    )


def test_padding_and_truncation_that_were_set_while_it_was_used_are_no_difference(plain):
    used = build()
    used.pad_token = "<end>"
    used(["a", "apples and pears"], padding=True, truncation=True, max_length=3)
    assert match_tokenizers(used, plain) == TokenizerMatch()


def test_ids_beyond_the_readers_matrices_are_foreign(plain):
    match = match_tokenizers(plain, plain).within(rows=len(plain) - 2, vocabulary=len(plain))
    assert match.foreign == {len(plain) - 2, len(plain) - 1}
    assert match_tokenizers(plain, plain).within(rows=len(plain) + 64, vocabulary=len(plain)).foreign == frozenset()
