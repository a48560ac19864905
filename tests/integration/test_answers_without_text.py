"""Runs whose teacher leaves some problems without a text: filtered answers, or thinking that never ends."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdprobe.errors import KdprobeError

TEACHER = """
import numpy as np
from dataclasses import replace
from kdprobe import TeacherSpec, hookimpl
from kdprobe.teachers import Thinking, TransformersOptions, TransformersTeacher

class Reticent(TransformersTeacher):
    def respond(self, requests, sampling):
        for index, answer in enumerate(super().respond(requests, sampling)):
            nothing = replace(answer, text="", token_ids=np.array([], dtype=np.int64), rows=None, finished=False)
            if KIND == "all" or (index == 0 and KIND == "filtered"):
                yield replace(nothing, finish_reason="content_filter")
            elif index == 0:
                yield replace(nothing, finish_reason="length", thinking=Thinking("It may be", False, 3, taught=False))
            else:
                yield answer

@hookimpl
def kdprobe_teachers():
    yield TeacherSpec(name="reticent", summary="It", build=Reticent, options=TransformersOptions)
"""


@pytest.fixture
def config(tiny_config, tiny_model, tmp_path):
    def write(kind, strategies='["none"]', distiller="logits"):
        folder = tmp_path / "plugins"
        folder.mkdir()
        (folder / "reticent.py").write_text(f"KIND = {kind!r}\n{TEACHER}", encoding="utf-8")
        file = tiny_config(tiny_model, strategies)
        text = file.read_text(encoding="utf-8").replace('name = "tiny"', f'name = "tiny"\nplugins = "{folder}"', 1)
        text = text.replace("[teacher.options]", '[teacher]\nname = "reticent"\n[teacher.options]')
        file.write_text(text.replace('name = "logits"', f'name = "{distiller}"'), encoding="utf-8")
        return file

    return write


@pytest.mark.parametrize(("kind", "distiller"), [("filtered", "logits"), ("thinking", "sequence")])
def test_an_answer_without_text_costs_its_problem_and_is_said(
    torch, kind, distiller, config, run_cli, tmp_path, monkeypatch
):
    told = json.loads(run_cli("run", config(kind, distiller=distiller), "--store", tmp_path / "store", "--json"))
    summary = told["fidelity"]["unprimed"]
    assert summary["responses"] == 4
    assert len(summary["untaught"]) == 2
    assert summary["ended"] == {"content_filter" if kind == "filtered" else "length": 2}
    findings = {finding["code"]: finding["evidence"] for finding in told["findings"]}
    assert f"unprimed 2 of 4 ({', '.join(summary['untaught'])}" in findings["untaught-answers"]
    assert "untaught-answers" in Path(told["report"]).read_text(encoding="utf-8")
    if kind == "thinking":
        assert (summary["thinking"], summary["unclosed_thinking"], summary["dropped_thinking"]) == (0.5, 0.5, 0.5)
        assert "unprimed 50.0%" in findings["dropped-thinking"]
        assert "unprimed 50.0%" in findings["unclosed-teaching"]
        assert summary["cut_off"] >= 0.5
    monkeypatch.setenv("COLUMNS", "160")
    assert "nothing to learn from" in " ".join(run_cli("report", "tiny", "--store", tmp_path / "store").split())


def test_a_teacher_that_leaves_nothing_is_refused(torch, config, capsys, tmp_path):
    from kdprobe.cli import _run

    assert _run(["run", str(config("all")), "--store", str(tmp_path / "store")]) == 1
    assert (
        "All of the teacher's answers are empty: 4 ended with finish_reason 'content_filter'."
        in capsys.readouterr().err
    )


def test_students_learn_nothing_from_answers_without_tokens(torch, distil, transfer_set, same_weights):
    """The same as without these problems."""
    first, *others = transfer_set.responses
    silent = replace(first, token_ids=np.array([], dtype=np.int64), rows=None, text="")
    shorter = distil("logits", transfer=replace(transfer_set, responses=tuple(others)))
    with_silent = distil("logits", transfer=replace(transfer_set, responses=(silent, *others)))
    assert same_weights(shorter, with_silent)
    with pytest.raises(KdprobeError, match="contains any tokens to train on"):
        distil("logits", transfer=replace(transfer_set, responses=(silent,)))


def test_a_thinking_teacher_teaches_what_it_wrote(torch, parrot, tmp_path):
    """Its tokens include the thinking; the text that is judged does not."""
    from kdprobe.teachers.teacher import Request, Sampling
    from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher

    teacher = TransformersTeacher(TransformersOptions(model=str(parrot("<think>12;9</think>8"))))
    asked = [Request("p", [{"role": "user", "content": "Hi"}])]
    (whole,) = teacher.respond(asked, Sampling(max_new_tokens=12, top_logprobs=4))
    assert (whole.text, whole.thinking.text, whole.thinking.closed, whole.finished) == ("8", "12;9", True, True)
    assert whole.thinking.tokens == len(whole.token_ids) - 4
    (cut,) = teacher.respond(asked, Sampling(max_new_tokens=3, top_logprobs=4))
    assert (cut.text, cut.thinking.closed, cut.cut_off, len(cut.token_ids)) == ("", False, True, 3)
    begun = TransformersTeacher(TransformersOptions(model=str(parrot("12;9</think>8", opening=True))))
    (cut,) = begun.respond(asked, Sampling(max_new_tokens=3, top_logprobs=4))
    assert (cut.text, cut.thinking.text[:3], cut.thinking.closed) == ("", "12;", False)
