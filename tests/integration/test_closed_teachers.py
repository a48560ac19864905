"""A teacher that can be closed does not hold its memory while students are trained and evaluated."""

import json

TEACHER = """
from pathlib import Path
from kdprobe import TeacherSpec, hookimpl
from kdprobe.teachers import TransformersOptions, TransformersTeacher

class Closable(TransformersTeacher):
    def respond(self, requests, sampling):
        self._log("open")
        return super().respond(requests, sampling)

    def close(self):
        self._log("closed")

    def _log(self, what):
        with Path(__file__).with_name("log").open("a") as log:
            log.write(what + "\\n")

@hookimpl
def kdprobe_teachers():
    yield TeacherSpec(name="closable", summary="It", build=Closable, options=TransformersOptions)
"""


def test_a_teacher_is_closed_after_it_answered(torch, tiny_config, tiny_model, run_cli, tmp_path, monkeypatch):
    from kdprobe.distill.training import trainer
    from kdprobe.evaluation.engines.builtin import TransformersEngine

    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "closable.py").write_text(TEACHER, encoding="utf-8")
    log = folder / "log"
    states = []

    def watched(name, function):
        def call(*arguments, **named):
            if log.exists():
                states.append((name, log.read_text(encoding="utf-8").split()[-1]))
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(trainer, "train", watched("train", trainer.train))
    monkeypatch.setattr(TransformersEngine, "load", watched("evaluate", TransformersEngine.load))
    file = tiny_config(tiny_model, '["none"]')
    text = file.read_text(encoding="utf-8").replace('name = "tiny"', f'name = "tiny"\nplugins = "{folder}"', 1)
    file.write_text(text.replace("[teacher.options]", '[teacher]\nname = "closable"\n[teacher.options]'), "utf-8")
    json.loads(run_cli("run", file, "--store", tmp_path / "store", "--json"))
    assert set(states) == {("train", "closed"), ("evaluate", "closed")}
