"""Students with tokenizers and chat templates of their own are compared on the tokens of the problems."""

import json
import re
import shutil

import numpy as np
import pytest

from kdprobe.errors import UsageError


@pytest.fixture
def model(tiny_model, tmp_path):
    """Copies the tiny model, with a different tokenizer or chat template, and rows for added tokens."""

    def make(name, *, added=(), rows=0, template=None, pad=None):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = shutil.copytree(tiny_model, tmp_path / name)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens(list(added))
        if pad:
            tokenizer.add_special_tokens({"pad_token": pad})
        tokenizer.save_pretrained(folder)
        if rows:
            loaded = AutoModelForCausalLM.from_pretrained(folder)
            loaded.resize_token_embeddings(loaded.config.vocab_size + rows)
            loaded.save_pretrained(folder)
        if template:
            (folder / "chat_template.jinja").write_text(template((tiny_model / "chat_template.jinja").read_text()))
        return folder

    return make


@pytest.fixture
def students(tiny_model):
    """The tiny model and others, as students."""
    from kdprobe.models.reference import resolve
    from kdprobe.students.student import Student

    def make(*folders):
        return [Student(folder.name, resolve(str(folder))) for folder in (tiny_model, *folders)]

    return make


@pytest.fixture
def read(problems, students):
    """What students read of the problems, and the findings."""
    from kdprobe.probing.analysis import AnalysisContext

    def shared(*folders, template_of=None):
        context = AnalysisContext(students=students(*folders), problems=problems, template_of=template_of)
        return [sequence.ids for sequence in context.sequences], context.findings

    return shared


def polite(template):
    """The same template with additional text before the question."""
    return "{{ 'Please: ' }}" + template


@pytest.mark.parametrize(
    "changes",
    [{"pad": "[PAD]"}, {"pad": "[PAD]", "rows": 1}, {"added": ["<unused>", "zebra"], "rows": 2}],
    ids=["a pad token without a row", "a pad token", "tokens that no problem has"],
)
def test_tokenizers_that_read_the_problems_alike_are_compared(changes, model, read, students, problems):
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.metrics.metric import head_metrics_of

    other = model("other", **changes)
    assert read(other) == read()
    assert read(other)[1] == []
    host = Host()
    context = AnalysisContext(
        students=students(other), problems=problems, batch_size=4, head_metrics=head_metrics_of(host)
    )
    divergence = run_analysis("divergence", host.create("analyses", "divergence", {}), context)
    assert divergence.tables["jensen_shannon"]["value"].abs().max() == 0
    ablation = run_analysis("ablation", host.create("analyses", "ablation", {"exact": 2, "random_sets": 0}), context)
    by_student = [rows["value"].to_numpy() for _, rows in ablation.tables["ablation"].groupby("student", sort=False)]
    # A token more has a probability of its own; padding is masked, whatever it is.
    np.testing.assert_allclose(*by_student, atol=0.05 if "rows" in changes else 1e-5)


def test_a_model_without_a_row_for_its_pad_token_answers_as_with_one(model, students, problems):
    from kdprobe.evaluation.lm_eval_run import evaluate
    from kdprobe.evaluation.protocol import Protocol

    plain, padded = (student.load(dtype="float32") for student in students(model("padded", pad="[PAD]")))
    protocol = Protocol(max_new_tokens=6, batch_size=3)
    answers = [[row["response"] for row in evaluate(one, problems, protocol, label="")] for one in (plain, padded)]
    assert answers[0] == answers[1]


def test_a_token_that_problems_have_is_refused_and_named(model, read, problems):
    word = re.search(r"[a-z]{4,}", problems[0].question)[0]
    other = model("other", added=[word], rows=1)
    told = rf"tokenise the problems differently: in '{problems[0].id}', token \d+ is ' ' \(\d+\), not ' {word}' \(\d+\)"
    with pytest.raises(UsageError, match=told):
        read(other)


def test_an_end_of_turn_of_another_id_is_refused(model, read):
    other = model("other", added=["<bye>"], rows=1, template=lambda text: text)
    config = json.loads((other / "tokenizer_config.json").read_text())
    file = other / "tokenizer.json"
    end = config["eos_token"]
    tokenizer = json.loads(file.read_text())
    for token in tokenizer["added_tokens"]:
        if token["content"] in {end, "<bye>"}:
            token["content"] = ({end, "<bye>"} - {token["content"]}).pop()
    vocabulary = tokenizer["model"]["vocab"]
    if end in vocabulary:
        vocabulary["<bye>"] = vocabulary.pop(end)
    file.write_text(json.dumps(tokenizer))
    with pytest.raises(UsageError, match="tokenise the problems differently"):
        read(other)


def test_templates_that_write_the_problems_alike_are_no_finding(model, read):
    other = model("other", template=lambda text: "{# a comment #}{% if tools %}Tools.{% endif %}" + text)
    assert read(other) == read()


def test_of_different_templates_one_is_chosen_and_said(model, read, tiny_model):
    other = model("other", template=polite)
    ids, (finding,) = read(other)
    assert ids == read()[0]
    assert finding.code == "other-template"
    assert f"chat template of {tiny_model.name!r}; the template of other is different" in finding.evidence
    assert "--template-of" in finding.action
    theirs, (finding,) = read(other, template_of="other")
    assert [len(a) > len(b) for a, b in zip(theirs, ids, strict=True)] == [True] * len(ids)
    assert f"chat template of 'other'; the template of {tiny_model.name} is different" in finding.evidence
    assert theirs == read(other, model("twin", template=polite), template_of="twin")[0]
    with pytest.raises(UsageError, match="There is no student 'nobody'"):
        read(other, template_of="nobody")


def test_a_template_that_others_cannot_read_is_refused_with_advice(model, read):
    other = model("other", added=["<mark>"], rows=1, template=lambda text: "{{ '<mark>' }}" + text)
    ids, (finding,) = read(other)
    assert ids == read()[0]
    assert finding.code == "other-template"
    with pytest.raises(UsageError, match=r"token 0 is .*, not '<mark>'.*") as refused:
        read(other, template_of="other")
    assert "--template-of NAME" in refused.value.hint


def test_from_the_command_line(model, tiny_model, run_cli, problem_files, tmp_path):
    other, problems = model("other", template=polite), problem_files[1]
    command = ("probe", tiny_model, "--against", other, "--problems", problems, "--limit", 2, "--json")
    told = json.loads(run_cli(*command, "--out", tmp_path / "out"))
    assert [finding["code"] for finding in told["findings"]] == ["other-template", "few-probed-problems"]
    assert "other-template" in (tmp_path / "out" / "probe.html").read_text()
    chosen = json.loads(run_cli(*command, "--template-of", tiny_model.name))
    assert f"chat template of {tiny_model.name!r}" in chosen["findings"][0]["evidence"]
    (finding,) = json.loads(run_cli("probe", tiny_model, "--problems", problems, "--limit", 2, "--json"))["findings"]
    assert finding["code"] == "few-probed-problems"
    assert "heads (2 problems). With 2 problems, " in finding["evidence"]
    assert "p cannot be below 0.5" in finding["evidence"]
