"""Which answers were cut off: according to columns, the reasons that servers give, and servers' replies."""

import csv
import json
import re

import pytest

from kdprobe.comparison.answers import outputs_of, read_outputs


def cut_offs(*columns):
    """What is read from rows with these cells next to a response and a gold value."""
    outputs = outputs_of([{"response": "7", "gold": "7"} | more for more in columns], "rows")
    return outputs.cut_off, outputs.notes


@pytest.mark.parametrize("name", ["finish_reason", "finishReason", "stop_reason", "Finish Reason", "done_reason"])
@pytest.mark.parametrize(
    "reason",
    ["length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens", "model_context_window_exceeded"],
)
def test_reasons_for_the_end_of_an_answer_say_which_were_cut_off(name, reason):
    flags, notes = cut_offs({name: reason}, {name: "stop"}, {name: None})
    assert flags == [True, False, False]
    assert notes == (f"The column {name!r} says which answers were cut off.",)


@pytest.mark.parametrize("reason", ["stop", "STOP", "end_turn", "eos_token", "tool_calls", "content_filter"])
def test_other_reasons_say_that_an_answer_ended(reason):
    assert cut_offs({"finish_reason": reason}, {"finish_reason": reason})[0] == [False, False]


def test_unknown_reasons_are_named_and_alone_say_nothing():
    flags, notes = cut_offs({"finish_reason": "length"}, {"finish_reason": "abort"})
    assert (flags, len(notes)) == ([True, False], 1)
    assert notes[0].endswith(
        "The column 'finish_reason' says which answers were cut off; 'abort' does not count as cut off."
    )
    assert cut_offs({"finish_reason": "abort"}, {"finish_reason": None}) == (None, ())
    _, (note,) = cut_offs(*({"finish_reason": reason} for reason in ("length", "abort", "error")))
    assert note.endswith("; 'abort', 'error' do not count as cut off.")


def test_a_column_that_says_so_comes_first_and_vllms_stop_reason_is_a_token():
    assert cut_offs({"cut_off": True, "finish_reason": "stop"}) == ([True], ())
    assert cut_offs({"finish_reason": ["length"], "stop_reason": 128_009})[0] == [True]
    assert cut_offs({"stop_reason": 128_009})[0] is None
    flags, notes = cut_offs({"truncated": 3, "finish_reason": "length"})
    assert flags == [True]
    assert notes[0] == "The column 'truncated' is ignored: not every cell is true or false."


REPLIES = {
    "OpenAI": {"choices": [{"finish_reason": "length", "message": {"role": "assistant", "content": "7"}}]},
    "OpenAI, second first": {
        "choices": [
            {"index": 1, "finish_reason": "stop", "message": {"role": "assistant", "content": "8"}},
            {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "7"}},
        ]
    },
    "batch": {"body": {"choices": [{"finish_reason": "length", "text": "7"}]}, "status_code": 200},
    "responses API": {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "7"}]}],
    },
    "Anthropic": {"role": "assistant", "content": [{"type": "text", "text": "7"}], "stop_reason": "max_tokens"},
    "Gemini": {"candidates": [{"content": {"role": "model", "parts": [{"text": "7"}]}, "finishReason": "MAX_TOKENS"}]},
    "Ollama": {"message": {"role": "assistant", "content": "7"}, "done": True, "done_reason": "length"},
    "vLLM": {"outputs": [{"index": 0, "text": "7", "finish_reason": "length", "stop_reason": None}]},
}


@pytest.mark.parametrize("server", REPLIES)
@pytest.mark.parametrize("form", ["json", "csv"])
def test_servers_replies_say_which_answers_were_cut_off(server, form, tmp_path):
    ended = re.sub("length|max_tokens|max_output_tokens|MAX_TOKENS", "stop", json.dumps(REPLIES[server]))
    replies = [REPLIES[server], json.loads(ended)]
    file = tmp_path / f"a.{form}"
    if form == "json":
        file.write_text(json.dumps([{"id": n, "response": reply, "gold": 7} for n, reply in enumerate(replies)]))
    else:
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows([["response", "gold"], *([json.dumps(reply), 7] for reply in replies)])
    outputs = read_outputs(file)
    assert outputs.responses == ["7", "7"]
    assert outputs.cut_off == [True, False]
    assert any("The replies in 'response' say which answers" in note for note in outputs.notes)


def test_a_text_that_looks_like_a_reply_is_an_answer():
    outputs = outputs_of([{"response": '{"answer": 7, "finish_reason": "length"}', "gold": "7"}] * 2, "rows")
    assert outputs.cut_off is None
