from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdprobe.teachers.teacher import Response, SparseRows, Thinking
from kdprobe.transfer.codec import from_table, to_table

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


@given(FALLING)
def test_log_probabilities_come_back_within_half_a_step(logprobs):
    back = from_table(to_table([response(logprobs)], 400))[0].rows.logprobs
    representable = logprobs > -255.99
    np.testing.assert_allclose(back[representable], logprobs[representable], atol=1 / 512 + 1e-5, rtol=0)
    assert (back[logprobs < -256] == -np.inf).all()


def test_the_impossible_stays_impossible_and_ids_keep_their_width():
    logprobs = np.array([[-0.5, -np.inf, -np.inf]], np.float32)
    ids = np.array([[70_000, 0, 128_255]])
    back = from_table(to_table([response(logprobs, ids)], 128_256))[0]
    assert back.rows.logprobs.tolist() == [[-0.5, -np.inf, -np.inf]]
    assert back.rows.ids.tolist() == ids.tolist()
    assert back.rows.tail_logmass[0.1].tolist() == [-np.inf]
    assert (back.id, back.sample, back.finished) == ("p", 2, True)


def test_prompts_come_back_where_a_server_returned_them():
    def back(*prompts):
        plain = Response("p", "text", np.arange(3), finished=True)
        given = [replace(plain, prompt_ids=None if ids is None else np.array(ids)) for ids in prompts]
        table = to_table(given, 400)
        found = [read.prompt_ids for read in from_table(table)]
        return "prompt_ids" in table.column_names, [None if ids is None else ids.tolist() for ids in found]

    assert back([5, 399], [7]) == (True, [[5, 399], [7]])
    assert back([5], None) == (True, [[5], None])
    assert back(None) == (False, [None])


def test_answers_without_tokens_come_back_among_others():
    whole = response(np.full((3, 5), -1.0, np.float32))
    nothing = Response("q", "", np.array([], np.int64), finished=False, finish_reason="content_filter")
    first, second, third = from_table(to_table([nothing, whole, replace(nothing, rows=None, id="r")], 400))
    assert (first.text, first.token_ids.tolist(), first.finish_reason) == ("", [], "content_filter")
    assert first.rows.ids.shape == third.rows.logprobs.shape == (0, 5)
    assert second.rows.ids.tolist() == whole.rows.ids.tolist()
    assert second.finish_reason is None
    # Where no answer has any, there are no rows.
    assert from_table(to_table([nothing, nothing], 400))[1].rows is None


def test_thinking_comes_back():
    thought = Thinking("3 + 4", closed=False, tokens=3, taught=False)
    plain = Response("p", "7", np.array([1, 2]), finished=True)
    back = from_table(to_table([replace(plain, thinking=thought), plain], 400))
    assert [answer.thinking for answer in back] == [thought, None]
