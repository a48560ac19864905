"""The teacher on a server that misbehaves: temporary faults are retried, permanent ones give a one-sentence error."""

import json
import logging
import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from served import REQUESTS, SAMPLING

from kdprobe import KdprobeError


def content(data):
    return data["choices"][0]["logprobs"]["content"]


def set_logprob(value):
    def change(data):
        content(data)[1]["top_logprobs"][0]["logprob"] = value

    return change


@pytest.mark.parametrize(
    "fault",
    [
        429,
        500,
        503,
        "cut",
        b"<html>busy</html>",
        b'{"choices": []}',
        b"[]",
        b'"hello"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"error": {"message": "overloaded", "code": 503}}',
        b'{"choices": [{"finish_reason": "stop"}]}',
        lambda data: data["choices"][0]["message"].update(content=7),
        lambda data: data["choices"][0].update(finish_reason="insufficient_system_resource"),
    ],
    ids=str,
)
def test_what_passes_is_asked_again(make, server, fault):
    server.changes = [fault, fault]
    (answer,) = make().respond(REQUESTS[:1], SAMPLING)
    assert answer.rows is not None
    assert len(server.asked) == 3


def test_a_slow_answer_is_asked_for_again(make, server):
    server.changes = ["slow"]
    (answer,) = make(timeout=0.5).respond(REQUESTS[:1], SAMPLING)
    assert answer.rows is not None
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("fault", "limit", "said"),
    [
        ("trickle", {"deadline": 0.5}, r"took more than 0\.5 s for one answer\. .*Raise teacher\.options\.deadline"),
        ("endless", {"largest_answer": 1}, r"sent an answer of more than 1 MB\. .*Raise teacher\.options\.largest"),
    ],
)
def test_an_answer_without_an_end_is_ended(make, server, fault, limit, said):
    server.always = fault
    with pytest.raises(KdprobeError, match=said):
        list(make(**limit).respond(REQUESTS[:1], SAMPLING))
    assert len(server.asked) == 1


def test_a_server_that_ignores_the_budget_is_refused(make, server):
    server.always = "wordy"
    sampling = replace(SAMPLING, max_new_tokens=4)
    count = len(server.ids)
    with pytest.raises(
        KdprobeError, match=rf"wrote {count} tokens for problem p0; 4 were allowed\. Set teacher\.options\.budget"
    ):
        list(make(over_budget=0).respond(REQUESTS[:1], sampling))
    (answer,) = make(over_budget=count).respond(REQUESTS[:1], sampling)
    assert len(answer.token_ids) == count


@pytest.mark.parametrize("fault", [429, 500, "cut", b"<html>busy</html>", b"{}", b'{"error": "busy"}'], ids=str)
def test_what_stays_ends_the_capture_with_a_sentence(make, server, fault):
    server.always = fault
    with pytest.raises(KdprobeError, match="gave no usable answer in 3 attempts; last error: ") as error:
        list(make(attempts=3).respond(REQUESTS[:1], SAMPLING))
    assert "The answers so far are saved" in str(error.value)
    assert len(server.asked) == 3


def test_nobody_there(make):
    with pytest.raises(KdprobeError, match="last error: ConnectError"):
        list(make(base_url="http://127.0.0.1:9/v1", attempts=2).respond(REQUESTS[:1], SAMPLING))


@pytest.mark.parametrize("status", [400, 404, 422, 307])
def test_a_refusal_is_not_asked_again(make, server, status):
    server.changes = [status]
    with pytest.raises(KdprobeError, match=rf"rejected the request: status {status} \("):
        list(make(concurrency=1).respond(REQUESTS, SAMPLING))
    assert len(server.asked) == 1


def test_retry_after_is_honoured_by_all_requests(make, server):
    server.changes = [(429, {"retry-after": "0.6"})]
    list(make(concurrency=1).respond(REQUESTS[:2], SAMPLING))
    times = [when for when, _, _ in server.asked]
    assert times[1] - times[0] >= 0.6


def test_retry_after_may_be_a_date_and_has_a_limit(make, server):
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server.changes = [(429, {"retry-after": later})]
    with pytest.raises(KdprobeError, match=r"asks kdprobe to wait 3[56]\d\d s, which is more than longest_wait"):
        list(make().respond(REQUESTS[:1], SAMPLING))
    server.changes = [(503, {"retry-after": "when it suits"})]
    assert len(list(make().respond(REQUESTS[:1], SAMPLING))) == 1


UNUSABLE = {
    "missing": (lambda data: data["choices"][0].update(logprobs=None), "the server's answer contains none"),
    "empty": (lambda data: content(data).clear(), "the server's answer contains none"),
    "no list": (lambda data: data["choices"][0].update(logprobs=[1]), "the server's answer contains none"),
    "too few tokens": (lambda data: content(data).pop(2), r"reports \d+ tokens but returns log-probabilities for \d+"),
    "too few tokens, uncounted": (
        lambda data: (content(data).pop(2), data.pop("usage")),
        "the tokens decode to .* and not to the text",
    ),
    "no end of turn": (
        lambda data: (content(data).pop(), data.pop("usage")),
        "the server omits the end of turn",
    ),
    "too few alternatives": (
        lambda data: content(data)[1]["top_logprobs"].pop(),
        r"because only 5 of 6 requested alternatives \(transfer.top_logprobs\) were returned",
    ),
    "no alternatives": (lambda data: content(data)[1].pop("top_logprobs"), "only 0 of 6 requested alternatives"),
    "an alternative twice": (
        lambda data: content(data)[1]["top_logprobs"].__setitem__(1, content(data)[1]["top_logprobs"][0]),
        "a token is listed twice among the alternatives|sum to",
    ),
    "NaN": (set_logprob(float("nan")), "is nan"),
    "far above 0": (set_logprob(1e308), r"is 1e\+308"),
    "too low": (set_logprob(-(10**400)), "is -1000"),
    "text": (set_logprob("-0.5"), "is not a number"),
    "null": (set_logprob(None), "is not a number"),
    "too much": (set_logprob(0.9), r"the probabilities at one position sum to \d"),
    "an entry that is none": (lambda data: content(data).__setitem__(0, 3), "an entry is not an object"),
    "a token without text": (lambda data: content(data)[0].update(token=None), "an entry has no token"),
    "another id": (lambda data: content(data)[0].update(id=300), "is .* to the server but .* to the student"),
    "an id beyond": (lambda data: content(data)[0].update(id=10**6), "matches none of the student's"),
    "another vocabulary": (
        lambda data: content(data)[0].update(id=None, token="Tom has"),
        "matches none of the student's tokens",
    ),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_unusable_log_probabilities_leave_texts_or_are_refused(make, server, capsys, fault):
    change, reason = UNUSABLE[fault]
    server.always = change
    with pytest.raises(KdprobeError, match=reason) as error:
        list(make(log_probabilities="required").respond(REQUESTS[:1], SAMPLING))
    assert 'distill.name = "sequence"' in error.value.hint
    answers = list(make().respond(REQUESTS, SAMPLING))
    assert sorted(answer.id for answer in answers) == [request.id for request in REQUESTS]
    assert all(answer.rows is None and answer.token_ids.tolist() == server.ids for answer in answers)
    printed = capsys.readouterr().err
    assert printed.count("kept as plain text, from which the distiller 'sequence' can learn, but 'logits' cannot.") == 1


def test_a_server_that_refuses_to_give_log_probabilities_is_asked_for_texts(make, server, capsys):
    def refuse(body):
        return {"error": {"message": "logprobs are not supported"}} if "logprobs" in body else None

    server.refuse = refuse
    answers = list(make(concurrency=1).respond(REQUESTS, SAMPLING))
    assert all(answer.rows is None and answer.token_ids.tolist() == server.ids for answer in answers)
    assert ["logprobs" in body for _, _, body in server.asked] == [True, *[False] * 5]
    assert capsys.readouterr().err.count("the server refuses to return them") == 1
    with pytest.raises(KdprobeError, match="rejected the request: status 400"):
        list(make(log_probabilities="required").respond(REQUESTS, SAMPLING))
    # So many are too many: that is for the user to change.
    server.refuse = lambda body: {
        "error": {"message": "Requested sample logprobs of 64, which is more than allowed: 20"}
    }
    with pytest.raises(KdprobeError, match="rejected the request: status 400") as error:
        list(make().respond(REQUESTS, SAMPLING))
    assert "transfer.top_logprobs" in error.value.hint


def test_an_impossible_alternative_has_no_mass(make, server):
    server.changes = [lambda data: content(data)[1]["top_logprobs"][5].update(logprob=float("-inf"))]
    (answer,) = make(log_probabilities="required").respond(REQUESTS[:1], SAMPLING)
    assert answer.rows.logprobs[1, 5] == float("-inf")
    assert answer.rows.tail_logmass[1.0][1] > answer.rows.logprobs[1, 4] - 20


KEY = "sk-0f3a-very-secret"


@pytest.mark.parametrize("fault", [None, 400, 401, 500, "cut", b"no JSON: " + KEY.encode()], ids=str)
def test_the_key_is_sent_and_appears_nowhere(make, server, fault, monkeypatch, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", KEY)
    server.always = fault
    teacher = make(key_variable="MY_KEY", attempts=2)
    seen = json.dumps(teacher.provenance)
    try:
        answers = list(teacher.respond(REQUESTS[:1], SAMPLING))
        seen += repr(answers)
    except KdprobeError as error:
        assert fault is not None
        seen += "".join(traceback.format_exception(error))
    assert server.asked[0][1]["Authorization"] == f"Bearer {KEY}"
    printed = capsys.readouterr()
    # The address of the variable is nobody's business in a record either.
    assert "MY_KEY" not in json.dumps(teacher.provenance)
    for text in (seen, repr(vars(teacher)), caplog.text, printed.out, printed.err):
        assert KEY not in text


def test_a_key_that_is_not_set_is_told_before_anything_is_asked(make, server, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(KdprobeError, match="The environment variable MY_KEY"):
        list(make(key_variable="MY_KEY").respond(REQUESTS[:1], SAMPLING))
    assert not server.asked


def test_a_failure_ends_what_is_still_running(make, server):
    server.changes = [400, *["held"] * 4]
    with pytest.raises(KdprobeError, match="status 400"):
        list(make(timeout=60).respond(REQUESTS, SAMPLING))
    assert not server.waited_out
    server.released.set()


def test_an_answer_with_half_an_emoji_fits_into_every_file():
    from kdprobe_openai.answer import Answer

    reply = {"choices": [{"message": {"content": "\ud83c and\x00 #### 5"}, "finish_reason": "stop"}]}
    assert Answer.of(reply).text == "\ufffd and\ufffd #### 5"
