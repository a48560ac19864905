"""Experiments with other tasks: what students retained, and what they lost."""

import json

import pytest

from own_tasks import questions, write_task


@pytest.fixture(scope="module")
def tasks(torch, tiny_record, tmp_path_factory):
    """Two tasks: `known`, on which the untrained model is always right, and `plain`."""
    from kdprobe.evaluation.tasks.choice import TaskChoice
    from kdprobe.evaluation.tasks.load import load_task
    from kdprobe.evaluation.tasks.run import do_task
    from kdprobe.models.load import load

    folder = tmp_path_factory.mktemp("tasks") / "own"
    write_task(folder, "plain", questions(60))
    records = do_task(load(tiny_record), load_task(TaskChoice("plain"), [folder]), label="plain")
    preferred = []
    for row, record in zip(questions(60), records, strict=True):
        scores = [float(answer[0][0]) for answer in json.loads(record["responses"])]
        preferred.append({**row, "gold": scores.index(max(scores))})
    write_task(folder, "known", preferred)
    return folder


@pytest.fixture(scope="module")
def run(torch, tiny_model, tiny_config, tasks, tmp_path_factory):
    import kdprobe

    listed = """["plain", {name = "known", role = "retention", limit = 50}]"""
    config = tiny_config(tiny_model)
    text = config.read_text(encoding="utf-8").replace("epochs = 1", "epochs = 12").replace("= 1e-2", "= 1e-1")
    text = text.replace("[evaluation]", f"[evaluation]\ntasks = {listed}\ninclude_path = ['{tasks}']")
    config.write_text(text, encoding="utf-8")
    return kdprobe.run(config, store=tmp_path_factory.mktemp("store"), progress=False)


def test_a_student_that_forgot_has_lost_the_task(run):
    changes = run.comparison.tasks.changes
    known = {change.a: change for change in changes if change.task == "known"}
    assert set(known) == {"fine-tuned", "unprimed", "teacher"}
    assert all(change.test.n == 50 and change.margin == 0.02 for change in known.values())
    assert "lost" in {change.outcome for change in known.values()}
    for change in known.values():
        right = next(s for s in run.comparison.tasks.scores if (s.task, s.student) == ("known", change.a))
        assert change.change == pytest.approx(right.score - 1)
    assert all(change.outcome is None for change in changes if change.task == "plain")


def test_verdict_json_and_page_say_it(run):
    [sentence] = [sentence for sentence in run.verdict if sentence.startswith("Students that fell below the score of")]
    assert "the score of 'untrained' on known (50 documents): " in sentence
    data = run.to_dict()["tasks"]
    assert data["roles"] == {"plain": "also", "known": "retention"}
    assert "lost" in {change["outcome"] for change in data["changes"]}
    page = run.report().read_text(encoding="utf-8")
    assert "Other benchmarks" in page
    assert "Students that fell below the score of" in page


def test_students_that_differ_by_their_seed_are_one_group_of_their_name(monkeypatch):
    from types import SimpleNamespace

    from kdprobe.experiment.evaluations import compared

    arms = [
        SimpleNamespace(name=name, strategy=strategy, distiller=distiller, seed=seed, tasks={"known": name})
        for name, strategy, distiller, seed in [
            ("untrained", None, None, 0),
            ("fine-tuned@0", None, "fine-tune", 0),
            ("fine-tuned@1", None, "fine-tune", 1),
            ("teacher@1", "teacher", "logits", 1),
        ]
    ]
    monkeypatch.setattr(compared, "read_documents", lambda file, *_: file)
    monkeypatch.setattr(compared, "compare_tasks", lambda students: students)
    (students,) = compared.task_comparison(arms, [{"name": "known", "role": "also"}])
    assert students.base == "untrained"
    groups = {"untrained": "untrained", "fine-tuned@0": "fine-tuned", "fine-tuned@1": "fine-tuned"}
    assert students.groups == groups | {"teacher@1": "teacher"}
