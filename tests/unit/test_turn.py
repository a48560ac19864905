"""How an assistant's turn begins and ends, by the chat template and not by `eos_token`."""

import json
import shutil

import pytest

from kdprobe.models.conversation import Conversation, bind
from kdprobe.models.turn import Turn, assistant_turn, is_end, response_ids, up_to_end
from kdprobe.problems.problem import Problem
from kdprobe.students.sequence import problem_sequence

OPENING = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
GENERATION = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
PAD_ENDS = OPENING + "{{ message['content'] }}<pad>\n{% endfor %}" + GENERATION
THINK = (
    OPENING
    + "{% if message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ message['content'] }}<|im_end|>\n"
    + "{% endfor %}"
    + "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    + "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
ENDLESS = OPENING + "{{ message['content'] }}\n{% endfor %}" + GENERATION
OTHER_ANSWER = (
    "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def tokenizer(torch, tiny_model):
    from transformers import AutoTokenizer

    def make(template, **arguments):
        loaded = AutoTokenizer.from_pretrained(tiny_model)
        loaded.chat_template = template
        return bind(loaded, Conversation(template_arguments=arguments))

    return make


def test_the_template_says_what_ends_a_turn(tokenizer):
    chat = tokenizer(PAD_ENDS)
    pad = chat.convert_tokens_to_ids("<pad>")
    assert pad != chat.eos_token_id
    assert assistant_turn(chat) == Turn("", pad)
    assert response_ids(chat, "It is 7.")[-1] == pad


def test_a_gold_text_begins_as_the_template_begins_an_answer(tokenizer):
    thinking = tokenizer(THINK)
    assert assistant_turn(thinking) == Turn("<think>\n\n</think>\n\n", thinking.eos_token_id)
    assert thinking.decode(response_ids(thinking, "It is 7.")) == "<think>\n\n</think>\n\nIt is 7.<|im_end|>"
    # Where the prompt holds the empty block, the answer does not.
    without = tokenizer(THINK, enable_thinking=False)
    assert assistant_turn(without).lead == ""
    assert without.decode(response_ids(without, "It is 7.")) == "It is 7.<|im_end|>"


def test_what_precedes_an_answer_is_read_and_not_scored(tokenizer):
    problem = Problem("p", "What is 3 + 4?", "3 + 4 = 7.\n#### 7", "7")
    with_block, without = (
        problem_sequence(tokenizer(THINK, **arguments), problem) for arguments in ({}, {"enable_thinking": False})
    )
    assert with_block.solution == without.solution
    assert with_block.ids == without.ids
    chat = tokenizer(THINK)
    assert chat.decode(with_block.solution) == problem.plain_solution
    assert chat.decode([with_block.ids[index] for index in with_block.value]).strip() == "7"


@pytest.mark.parametrize("template", [ENDLESS, OTHER_ANSWER])
def test_a_turn_that_the_template_does_not_end_ends_with_the_tokenizers_token(tokenizer, template):
    chat = tokenizer(template)
    turn = assistant_turn(chat)
    assert turn.end == chat.eos_token_id
    assert not turn.reconciled


def test_a_model_without_a_template_answers_after_a_space(tokenizer):
    plain = tokenizer(None)
    assert assistant_turn(plain) == Turn(" ", plain.eos_token_id)
    assert plain.decode(response_ids(plain, "It is 7.")) == " It is 7.<|im_end|>"


def test_text_never_ends_a_turn(tokenizer):
    chat = tokenizer(PAD_ENDS)
    assert is_end(chat, chat.convert_tokens_to_ids("<pad>"))
    assert not any(is_end(chat, token) for token in chat("It is 7.", add_special_tokens=False)["input_ids"])


def test_a_response_ends_with_its_first_end_whatever_follows():
    ends = frozenset({2, 9})
    assert up_to_end([5, 9, 2, 0, 0], ends) == ([5, 9], True)
    assert up_to_end([2, 5], ends) == ([2], True)
    assert up_to_end([5, 7], ends) == ([5, 7], False)
    assert up_to_end([], ends) == ([], False)


def test_the_ends_of_a_model_are_found_out_once(tiny_model, monkeypatch):
    from kdprobe.models import load, turn
    from kdprobe.models.reference import resolve

    loaded = load.load(resolve(str(tiny_model)))
    asked = []
    monkeypatch.setattr(turn, "assistant_turn", lambda tokenizer: asked.append(tokenizer) or assistant_turn(tokenizer))
    ends = [loaded.eos_ids for _ in range(3)]
    assert len(asked) == 1
    assert ends[0] == ends[2] == {loaded.tokenizer.eos_token_id}


def test_the_ends_of_a_model_are_known_without_its_weights(tiny_model, tmp_path):
    from kdprobe.models.adapters import AdapterRecord
    from kdprobe.models.load import declared_end_ids, load, load_tokenizer
    from kdprobe.models.reference import resolve

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    tokenizer = load_tokenizer(resolve(str(folder)))
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 8]}', encoding="utf-8")
    record = resolve(str(folder))
    assert declared_end_ids(record, tokenizer) == load(record).eos_ids == {7, 8, tokenizer.eos_token_id}
    (tmp_path / "kdprobe.json").write_text('{"end_ids": [9]}', encoding="utf-8")
    assert declared_end_ids(record, tokenizer, AdapterRecord("it", tmp_path, "")) >= {7, 8, 9}
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 5}), encoding="utf-8")
    record = resolve(str(folder))
    assert declared_end_ids(record, tokenizer) == load(record).eos_ids == {5, tokenizer.eos_token_id}


BEGUN = (
    OPENING
    + "{{ message['content'].split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    + GENERATION.replace("assistant\n", "assistant\n<think>\n")
)
KEPT = (
    OPENING
    + (
        "{% if message.reasoning_content %}<think>\n{{ message.reasoning_content }}\n</think>\n\n{% endif %}"
        "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    )
    + GENERATION
)


def test_a_gold_text_ends_the_thinking_that_its_prompt_begins(tokenizer):
    chat = tokenizer(BEGUN)
    assert assistant_turn(chat) == Turn("\n</think>\n\n", chat.eos_token_id)
    assert chat.decode(response_ids(chat, "It is 7.")) == "\n</think>\n\nIt is 7.<|im_end|>"


@pytest.mark.parametrize(("template", "begun"), [(KEPT, "<think>\n"), (THINK, "<think>\n"), (BEGUN, "")])
def test_thinking_is_written_as_the_template_writes_it(tokenizer, template, begun):
    """Or where it leaves thinking out, between the marks that most models have."""
    chat = tokenizer(template)
    written = chat.decode(response_ids(chat, "It is 7.", "3 + 4"))
    assert written == f"{begun}3 + 4\n</think>\n\nIt is 7.<|im_end|>"
    # Without an answer it was cut off.
    assert chat.decode(response_ids(chat, "", "3 + 4")) == f"{begun}3 + 4"


def test_a_model_without_a_template_writes_thinking_between_marks(tokenizer):
    plain = tokenizer(None)
    assert plain.decode(response_ids(plain, "7", "3 + 4")) == " <think>\n3 + 4\n</think>\n\n7<|im_end|>"
