from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdprobe.errors import KdprobeError
from kdprobe.teachers.teacher import NO_TOKEN, Response, SparseRows, Thinking
from kdprobe.transfer.codec import Layout, from_table, to_table
from kdprobe.transfer.dictionary import Dictionary

FALLING = arrays(np.float32, (3, 5), elements=st.floats(-300, 0, width=32)).map(lambda a: -np.sort(-a, axis=-1))


def response(logprobs, ids=None):
    tokens, k = logprobs.shape
    ids = np.arange(tokens * k).reshape(tokens, k) if ids is None else ids
    rows = SparseRows(
        ids=ids.astype(np.int32),
        logprobs=logprobs,
        tail_logmass={1.0: np.full(tokens, -3.0, np.float32), 0.1: np.full(tokens, -np.inf, np.float32)},
        token_logprobs=logprobs[:, 0],
    )
    return Response("p", "text", np.arange(tokens), finished=True, rows=rows, sample=2)


def there_and_back(responses, vocabulary, *, predict=False):
    """Responses after they were in a table, with a dictionary made from themselves or without any."""
    dictionary = Dictionary.of(responses, vocabulary) if predict else Dictionary.empty(vocabulary)
    return from_table(to_table(responses, Layout.of(responses, vocabulary, dictionary)), dictionary)


@given(FALLING)
def test_log_probabilities_come_back_within_half_a_step(logprobs):
    back = there_and_back([response(logprobs)], 400)[0].rows.logprobs
    representable = logprobs > -255.99
    np.testing.assert_allclose(back[representable], logprobs[representable], atol=1 / 512 + 1e-5, rtol=0)
    assert (back[logprobs < -256] == -np.inf).all()


def test_the_impossible_stays_impossible_and_ids_keep_their_width():
    logprobs = np.array([[-0.5, -np.inf, -np.inf]], np.float32)
    ids = np.array([[70_000, 0, 128_255]])
    back = there_and_back([response(logprobs, ids)], 128_256)[0]
    assert back.rows.logprobs.tolist() == [[-0.5, -np.inf, -np.inf]]
    assert back.rows.ids.tolist() == ids.tolist()
    assert back.rows.tail_logmass[0.1].tolist() == [-np.inf]
    assert (back.id, back.sample, back.finished) == ("p", 2, True)


def test_prompts_come_back_where_a_server_returned_them():
    def back(*prompts):
        plain = Response("p", "text", np.arange(3), finished=True)
        given = [replace(plain, prompt_ids=None if ids is None else np.array(ids)) for ids in prompts]
        found = [read.prompt_ids for read in there_and_back(given, 400)]
        return [None if ids is None else ids.tolist() for ids in found]

    assert back([5, 399], [7]) == [[5, 399], [7]]
    assert back([5], None) == [[5], None]
    assert back(None) == [None]


def test_answers_without_tokens_come_back_among_others():
    whole = response(np.full((3, 5), -1.0, np.float32))
    nothing = Response("q", "", np.array([], np.int64), finished=False, finish_reason="content_filter")
    first, second, third = there_and_back([nothing, whole, replace(nothing, rows=None, id="r")], 400)
    assert (first.text, first.token_ids.tolist(), first.finish_reason) == ("", [], "content_filter")
    assert first.rows.ids.shape == third.rows.logprobs.shape == (0, 0)
    assert second.rows.ids.tolist() == whole.rows.ids.tolist()
    assert second.finish_reason is None
    # Where no answer has any, there are no rows.
    assert there_and_back([nothing, nothing], 400)[1].rows is None


def test_thinking_comes_back():
    thought = Thinking("3 + 4", closed=False, tokens=3, taught=False)
    plain = Response("p", "7", np.array([1, 2]), finished=True)
    back = there_and_back([replace(plain, thinking=thought), plain], 400)
    assert [answer.thinking for answer in back] == [thought, None]


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.booleans())
def test_every_id_comes_back_whatever_the_dictionary_predicts(seed, vocabulary, own):
    random = np.random.default_rng(seed)

    def some(name):
        k, tokens = random.integers(1, vocabulary + 1), random.integers(1, 30)
        ids = np.array([random.permutation(vocabulary)[:k] for _ in range(tokens)], np.int32)
        counts = random.integers(1, k + 1, tokens)
        kept = np.arange(k) < counts[:, None]
        rows = SparseRows(
            ids=np.where(kept, ids, NO_TOKEN)[:, : counts.max()],
            logprobs=np.where(kept, -1.0, -np.inf).astype(np.float32)[:, : counts.max()],
            tail_logmass={1.0: random.normal(-3, 1, tokens).astype(np.float32)},
            token_logprobs=random.normal(-3, 1, tokens).astype(np.float32),
        )
        return Response(name, "", random.integers(0, vocabulary, tokens), finished=True, rows=rows)

    responses, others = [some("p"), some("q")], [some("r")]
    dictionary = Dictionary.of(responses if own else others, vocabulary)
    # As it is after it was stored.
    dictionary = Dictionary.from_bytes(dictionary.to_bytes(), vocabulary)
    back = from_table(to_table(responses, Layout.of(responses, vocabulary, dictionary)), dictionary)
    for before, after in zip(responses, back, strict=True):
        for name in ("ids", "logprobs", "token_logprobs"):
            np.testing.assert_array_equal(getattr(after.rows, name), getattr(before.rows, name))
        np.testing.assert_array_equal(after.rows.tail_logmass[1.0], before.rows.tail_logmass[1.0])


def test_frequent_followers_of_a_token_get_the_smallest_numbers():
    # After 7 mostly 30 is probable, then 20; after others mostly 10.
    tokens = np.array([7, 1] * 6)
    ids = np.array([[10], [30]] * 4 + [[10], [20]] * 2)
    ids[-1] = 20
    rows = SparseRows(
        ids=ids.astype(np.int32),
        logprobs=np.zeros((12, 1), np.float32),
        tail_logmass={1.0: np.zeros(12, np.float32)},
        token_logprobs=np.zeros(12, np.float32),
    )
    dictionary = Dictionary.of([Response("p", "", tokens, finished=True, rows=rows)], 40)
    after_seven = np.full(3, 7)
    assert dictionary.encode(after_seven, np.array([30, 10, 20])).tolist() == [0, 1, 22]
    # Without a list of its own, in the order of all: 10 and 30 were kept at least four times, the rest by number.
    assert dictionary.encode(np.full(4, 9), np.array([10, 30, 0, 20])).tolist() == [0, 1, 2, 21]


def test_distributions_that_do_not_fit_the_tokens_or_the_vocabulary_are_refused():
    whole = response(np.full((3, 5), -1.0, np.float32))
    for wrong, said in (
        (replace(whole, token_ids=np.arange(2)), "do not match its tokens"),
        (response(np.full((3, 5), -1.0, np.float32), np.full((3, 5), 400)), "beyond its vocabulary"),
    ):
        with pytest.raises(KdprobeError, match=said):
            there_and_back([wrong], 400)
