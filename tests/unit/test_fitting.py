"""Transfer sets in a student's token ids."""

from dataclasses import replace

import numpy as np
import pytest

from kdprobe.errors import KdprobeError
from kdprobe.models.outline.tokenizers import TokenizerMatch
from kdprobe.teachers.teacher import Response, SparseRows, Thinking
from kdprobe.transfer.fitting import fitted
from kdprobe.transfer.transfer_set import TransferSet

TEMPERATURES = (1.0, 2.5)
SAME = TokenizerMatch()


@pytest.fixture(scope="module")
def tokenizer(tiny_record):
    from kdprobe.models.load import load_tokenizer

    return load_tokenizer(tiny_record)


def log_shares(logits, temperature):
    scaled = logits / temperature
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


def cut(logits, ids, written):
    """Rows of dense logits `[tokens, V]` at these ids, with exact tails."""
    plain = log_shares(logits, 1.0)
    outside = np.ones_like(logits, dtype=bool)
    np.put_along_axis(outside, ids, values=False, axis=1)
    return SparseRows(
        ids=ids.astype(np.int32),
        logprobs=np.take_along_axis(plain, ids, axis=1),
        tail_logmass={
            t: np.log((np.exp(log_shares(logits, t)) * outside).sum(axis=1)).astype(np.float32) for t in TEMPERATURES
        },
        token_logprobs=np.take_along_axis(plain, written[:, None], axis=1)[:, 0].astype(np.float32),
    )


def taught(*responses):
    return TransferSet(tuple(responses), {"tokenizer": "another", "vocabulary": 30})


def answer(logits, k, written, text="4", finished=True):
    ids = np.argsort(-logits, axis=1)[:, :k]
    return Response("p", text, written, finished, cut(logits, ids, written))


@pytest.fixture(scope="module")
def logits():
    random = np.random.default_rng(0)
    return [random.normal(0, 2, (length, 30)) for length in (4, 6)]


@pytest.fixture(scope="module")
def responses(logits):
    written = np.random.default_rng(1).integers(0, 20, 10)
    return [answer(logits[0], 8, written[:4]), answer(logits[1], 8, written[4:], finished=False)]


def test_where_nothing_is_foreign_all_stays(responses, tokenizer):
    found = fitted(taught(*responses), SAME, tokenizer, rows=True)
    assert [*found.responses] == responses
    assert found.manifest["tokenizer"] != "another"
    assert "retokenised" not in found.manifest


def test_the_mass_of_foreign_ids_goes_to_the_tail_at_every_temperature(logits, responses, tokenizer):
    foreign = frozenset({25, 26, 27, 28, 29})
    found = fitted(taught(*responses), TokenizerMatch(foreign=foreign), tokenizer, rows=True)
    widths = {response.rows.ids.shape[1] for response in found.responses}
    most = max(int(np.isin(response.rows.ids, list(foreign)).sum(axis=1).max()) for response in responses)
    assert most > 0
    assert widths == {8 - most}
    for dense, before, after in zip(logits, responses, found.responses, strict=True):
        assert not np.isin(after.rows.ids, list(foreign)).any()
        for row in range(len(before.token_ids)):
            known = [index for index, token in enumerate(before.rows.ids[row]) if token not in foreign][: 8 - most]
            assert after.rows.ids[row].tolist() == before.rows.ids[row][known].tolist()
        for t in TEMPERATURES:
            exact = cut(dense, after.rows.ids, before.token_ids)
            np.testing.assert_allclose(after.rows.tail_logmass[t], exact.tail_logmass[t], rtol=1e-5)
        np.testing.assert_array_equal(after.token_ids, before.token_ids)


def test_a_foreign_id_that_was_written_is_refused_where_rows_are_needed(responses, tokenizer):
    written = int(responses[0].token_ids[0])
    said = rf"use 1 token id that means something else to the student \({written}\)\. .*distill.name = \"sequence\""
    with pytest.raises(KdprobeError, match=said):
        fitted(taught(*responses), TokenizerMatch(foreign=frozenset({written})), tokenizer, rows=True)


@pytest.mark.parametrize(
    "match", [TokenizerMatch("they merge otherwise"), TokenizerMatch(foreign=frozenset(range(20)))]
)
def test_text_is_tokenised_again_and_ended_as_the_students_template_does(responses, tokenizer, match):
    found = fitted(taught(*responses), match, tokenizer, rows=False)
    finished, cut_off = found.responses
    ids = tokenizer("4", add_special_tokens=False)["input_ids"]
    assert finished.token_ids.tolist() == [*ids, tokenizer.eos_token_id]
    assert cut_off.token_ids.tolist() == ids
    assert finished.rows is cut_off.rows is None
    assert found.manifest["retokenised"] is True
    assert found.vocabulary == len(tokenizer)


def test_rows_of_other_tokens_are_refused(responses, tokenizer):
    with pytest.raises(KdprobeError, match=r"tokenizer is not the teacher's: they merge otherwise"):
        fitted(taught(*responses), TokenizerMatch("they merge otherwise"), tokenizer, rows=True)


def test_a_row_of_foreign_ids_only_is_refused(tokenizer):
    logits = np.full((2, 30), -5.0)
    logits[:, 20:] = 5.0
    response = answer(logits, 4, np.array([1, 2]))
    with pytest.raises(KdprobeError, match="none of the teacher's top tokens is in the student's vocabulary"):
        fitted(taught(response), TokenizerMatch(foreign=frozenset(range(20, 30))), tokenizer, rows=True)


def test_thinking_that_is_taught_is_tokenised_again_and_nothing_stays_nothing(responses, tokenizer):
    different = TokenizerMatch(difference="they differ")
    thought = replace(responses[0], thinking=Thinking("3 + 1", closed=True, tokens=3))
    left_out = replace(thought, thinking=replace(thought.thinking, taught=False))
    nothing = Response("q", "", np.array([], np.int64), finished=False, finish_reason="content_filter")
    found = fitted(taught(thought, left_out, nothing), different, tokenizer, rows=False).responses
    assert "3 + 1" in tokenizer.decode(found[0].token_ids)
    assert "3 + 1" not in tokenizer.decode(found[1].token_ids)
    assert found[2].token_ids.tolist() == []
