"""A chat server's replies are read as they are, or rejected; lm-eval would count unreadable ones as wrong."""

import pytest

from kdprobe.errors import KdprobeError
from kdprobe.evaluation.served_answer import refuse_other_than_texts, with_thinking


def completion(message, **choice):
    return {"choices": [{"message": message, **choice}]}


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (completion({"content": "It is 8."}), "It is 8."),
        (completion({"content": "It is 8."}, index=7), "It is 8."),
        (completion({"content": "8", "reasoning_content": "3 + 5"}), "<think>\n3 + 5\n</think>\n\n8"),
        (completion({"content": None}), None),
        (completion({"role": "assistant"}), None),
        (completion(None, finish_reason="content_filter"), None),
    ],
)
def test_its_one_choice_is_read_whatever_number_it_has(reply, text):
    choice = with_thinking(reply)["choices"][0]
    assert (choice["index"], choice["message"]["content"]) == (0, text)


@pytest.mark.parametrize(
    "reply", [None, [], [completion({"content": "8"})], "x", {}, {"choices": None}, {"choices": []}, {"choices": [1]}]
)
def test_what_is_no_completion_is_refused(reply):
    with pytest.raises(KdprobeError, match="not a chat completion with one choice"):
        with_thinking(reply)


def test_several_answers_to_one_question_are_refused():
    with pytest.raises(KdprobeError, match="with one choice"):
        with_thinking({"choices": completion({"content": "8"})["choices"] * 2})


@pytest.mark.parametrize("message", [None, "8", {"content": 8}, {"content": [{"type": "text", "text": "8"}]}])
def test_a_message_without_text_is_refused(message):
    with pytest.raises(KdprobeError, match="no message whose content is text"):
        with_thinking(completion(message))


def test_texts_of_several_prompts_are_taken_in_any_order():
    refuse_other_than_texts({"choices": [{"index": 1, "text": "8"}, {"index": 0, "text": ""}]})


@pytest.mark.parametrize(
    "choices",
    [
        None,
        [1],
        [{"text": "8"}],
        [{"index": 1, "text": "8"}],
        [{"index": 0, "text": None}],
        [{"index": [0], "text": "8"}],
        [{"index": 0, "text": "8"}, {"index": 0, "text": "9"}],
    ],
)
def test_texts_that_are_missing_or_given_twice_are_refused(choices):
    with pytest.raises(KdprobeError, match="at least one completion is missing or appears twice"):
        refuse_other_than_texts({"choices": choices})
    with pytest.raises(KdprobeError, match="at least one completion is missing or appears twice"):
        refuse_other_than_texts([{"choices": [{"index": 0, "text": "8"}]}])
