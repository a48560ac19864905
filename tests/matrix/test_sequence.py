"""A teacher of another family: students learn from its text, in their own tokens."""

import json

import pytest
from families import FAMILIES
from test_runs import ids_of, loaded, prompts, strategy

PAIRS = [("gemma3", "qwen3"), ("qwen3", "gemma3"), ("llama3_1", "deepseek_v3")]
"""The families of a student and its teacher."""


@pytest.fixture(params=PAIRS, ids="-from-".join, scope="module")
def finished(request, cell):
    student, teacher = request.param
    arguments = FAMILIES[student].arguments | FAMILIES[teacher].arguments
    return cell(student, "transformers", arguments, teacher=teacher, distiller="sequence")


@pytest.mark.parametrize("reader", ["teacher", "student"])
def test_each_reads_the_conversation_as_its_own_template_writes_it(finished, reader):
    name = finished.teacher if reader == "teacher" else finished.family
    tokenizer = loaded(finished.folders[name])
    read = prompts(finished.stage("transfer" if reader == "teacher" else "distill", "teacher"))
    messages_of = strategy("teacher" if reader == "teacher" else "none")
    for problem in finished.record["problems"]["transfer"]:
        assert read[problem["id"]] == ids_of(tokenizer, messages_of(problem), FAMILIES[name].arguments)


def test_students_learn_the_teachers_text_and_the_ends_of_their_own_template(finished):
    from kdprobe.text import safe_text
    from kdprobe.transfer.transfer_set import read

    own, other = (loaded(finished.folders[name]) for name in (finished.family, finished.teacher))
    end = own.convert_tokens_to_ids(FAMILIES[finished.family].end)
    answers = read(finished.stage("transfer", "teacher")).responses
    decoded = [safe_text(other.decode(answer.token_ids, skip_special_tokens=True)).strip() for answer in answers]
    assert [answer.text for answer in answers] == decoded
    training = json.loads((finished.stage("distill", "teacher") / "training.json").read_text())
    assert training["retokenised"] is True
    written = [own(answer.text, add_special_tokens=False)["input_ids"] for answer in answers if answer.text]
    ends = sum(answer.finished for answer in answers if answer.text)
    # What the template writes before an answer, such as Qwen3's empty thinking, is learned too.
    asked, answered = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "X"}
    begun = own.apply_chat_template([asked], add_generation_prompt=True, tokenize=False)
    opening = own.apply_chat_template([asked, answered], tokenize=False).removeprefix(begun).partition("X")[0]
    before = len(written) * len(own(opening, add_special_tokens=False)["input_ids"])
    assert training["alignment"]["positions"] == before + sum(map(len, written)) + ends
    assert set(training["end_ids"]) == ({end} if ends else set())


def test_no_finding_speaks_of_prompts_or_ends(finished):
    codes = {finding["code"] for finding in finished.results["findings"]}
    assert not codes & {"prompt-changed", "student-prompt", "untaught-end", "unequal-prompt"}
