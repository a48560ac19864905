import json

import pytest

from kdprobe.errors import ConfigError, KdprobeError


@pytest.fixture(scope="module")
def planned(torch, tiny_model, tiny_config, tmp_path_factory):
    """Plans a tiny experiment after changes to its config's text; returns plan and store."""
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.store import Store
    from kdprobe.host.registry import Host

    store = Store(tmp_path_factory.mktemp("store"))
    store.prepare()

    def plan(*changes):
        file = tiny_config(tiny_model)
        text = file.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        host = Host()
        return make_plan(load_experiment(file, host), host), store

    return plan


def made(plan, store, kinds=("transfer",)):
    """Runs the plan's stages of these kinds; returns the transfer set of each strategy."""
    from kdprobe.transfer.transfer_set import read

    for stage in plan.stages:
        if stage.kind in kinds:
            store.make(stage)
    return {arm.strategy: read(store.folder(arm.transfer)) for arm in plan.arms if arm.transfer}


def transfer(line):
    return ("[transfer]\n", f"[transfer]\n{line}\n")


def answers(file, problems, right):
    rows = [
        {"id": p.id, "response": f"The answer is {p.value if number in right else 'unknown'}."}
        for number, p in enumerate(problems)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_distiller_that_needs_no_responses_asks_no_teacher(planned):
    plan, _ = planned(('name = "logits"', 'name = "fine-tune"'))
    assert {stage.kind for stage in plan.stages} == {"distill", "evaluate", "analyse"}
    assert [arm.student.name for arm in plan.arms] == ["untrained", "fine-tuned", "unprimed", "teacher"]


def test_a_distiller_that_needs_the_teacher_itself_is_keyed_by_what_both_read(planned, monkeypatch):
    from kdprobe.distill.builtin import FineTuneDistiller

    monkeypatch.setattr(FineTuneDistiller, "needs", frozenset({"teacher"}))
    plan, _ = planned(('name = "logits"', 'name = "fine-tune"'))
    unprimed, primed = (arm.distill.settings for arm in plan.arms if arm.strategy)
    assert primed["prompts"] == unprimed["prompts"] == unprimed["teacher"]["prompts"]
    assert primed["teacher"]["prompts"] != primed["prompts"]


def test_each_strategys_teacher_reads_the_answers_of_one(planned):
    own = made(*planned())
    plan, store = planned(transfer('texts = "none"'))
    read = made(plan, store)
    by = {arm.strategy: arm.transfer for arm in plan.arms if arm.transfer}
    assert by["teacher"].inputs == (by["unprimed"],)
    for arm in ("unprimed", "teacher"):
        assert [r.text for r in read[arm].responses] == [r.text for r in own["unprimed"].responses]
    # The same words, another distribution: the teacher was primed.
    assert (read["teacher"].responses[0].rows.logprobs != read["unprimed"].responses[0].rows.logprobs).any()
    assert [r.text for r in own["teacher"].responses] != [r.text for r in own["unprimed"].responses]


def test_a_strategy_called_own_is_not_what_the_others_read(planned):
    plan, _ = planned(('"teacher"', '{ name = "teacher", label = "own" }'))
    assert [arm.transfer.inputs for arm in plan.arms if arm.transfer] == [(), ()]


def test_gold_solutions_are_texts_too(planned):
    plan, store = planned(transfer('texts = "gold"'))
    read = made(plan, store)
    expected = [problem.plain_solution for problem in plan.draw.transfer]
    assert [r.text for r in read["unprimed"].responses] == [r.text for r in read["teacher"].responses] == expected


def test_a_teacher_whose_server_renders_prompts_scores_after_prompts_rendered_here(planned, monkeypatch):
    from kdprobe.experiment.stages.prompts import read_prompt_ids
    from kdprobe.teachers.transformers_teacher import TransformersTeacher

    conversation = ("[transfer]\n", '[conversation]\nsystem = "Be brief."\n\n[transfer]\ntexts = "gold"\n')

    def scored():
        plan, store = planned(conversation)
        sets = made(plan, store)
        return [(arm.transfer, store.folder(arm.transfer), sets[arm.strategy]) for arm in plan.arms if arm.transfer]

    local = scored()
    monkeypatch.delattr(TransformersTeacher, "rendered")
    for (stage, folder, here), (served, served_folder, there) in zip(local, scored(), strict=True):
        assert "messages" in served.settings
        assert served.settings["prompts"] == stage.settings["prompts"]
        assert [*read_prompt_ids(served_folder)] == [*read_prompt_ids(folder)] != []
        assert there.manifest["prompts"] == "rendered here"
        for one, other in zip(here.responses, there.responses, strict=True):
            assert (one.rows.logprobs == other.rows.logprobs).all()


def test_a_teacher_that_cannot_score_is_refused_in_the_plan(planned, monkeypatch):
    from kdprobe.teachers.transformers_teacher import TransformersTeacher

    monkeypatch.delattr(TransformersTeacher, "score")
    planned()
    with pytest.raises(KdprobeError, match="cannot score existing texts"):
        planned(transfer('texts = "gold"'))


def test_matched_rejection_leaves_every_arm_and_the_control_the_same_problems(planned, tmp_path):
    from kdprobe.files import read_json

    plan, _ = planned()
    file = answers(tmp_path / "answers.jsonl", plan.draw.transfer, right={1, 3})
    plan, store = planned(transfer(f'texts = "{file}"\nfilter = "matched"'), ("batch_size = 2,", "batch_size = 1,"))
    made(plan, store, kinds=("transfer", "select", "distill"))
    (select,) = [stage for stage in plan.stages if stage.kind == "select"]
    kept = read_json(store.folder(select) / "selection.json")
    wanted = [[plan.draw.transfer[1].id, 0], [plan.draw.transfer[3].id, 0]]
    assert list(kept.values()) == [wanted, wanted]
    for arm in plan.arms:
        if arm.distill:
            # One step a problem.
            assert len(read_json(store.folder(arm.distill) / "training.json")["history"]) == 2, arm.student.name


def test_rejection_by_itself_leaves_the_control_all_problems(planned, tmp_path):
    plan, _ = planned()
    file = answers(tmp_path / "answers.jsonl", plan.draw.transfer, right={0})
    plan, _ = planned(transfer(f'texts = "{file}"\nfilter = "correct"'))
    by = {arm.student.name: arm for arm in plan.arms}
    assert by["fine-tuned"].select is None
    assert by["unprimed"].select.inputs == (by["unprimed"].transfer,)


def test_nothing_left_to_learn_from_is_told(planned, tmp_path):
    plan, _ = planned()
    file = answers(tmp_path / "answers.jsonl", plan.draw.transfer, right=set())
    plan, store = planned(transfer(f'texts = "{file}"\nfilter = "correct"'))
    with pytest.raises(KdprobeError, match="leaves no teacher answers"):
        made(plan, store, kinds=("transfer", "select"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[1:], "answers 3 of the 4 transfer problems"),
        (lambda rows: [*rows, rows[0]], "again. Remove one of the two"),
        (lambda rows: [*rows, {"id": "x"}], "line 5 is not an answer"),
        (lambda rows: [*rows, "text"], "line 5 is not an answer"),
    ],
    ids=["missing", "doubled", "without a response", "no object"],
)
def test_a_file_of_texts_must_answer_every_problem_once(planned, tmp_path, change, words):
    plan, _ = planned()
    file = answers(tmp_path / "answers.jsonl", plan.draw.transfer, right={0})
    rows = change([json.loads(line) for line in file.read_text().splitlines()])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(KdprobeError, match=words):
        made(*planned(transfer(f'texts = "{file}"')))


def test_texts_may_name_problems_by_their_question(planned, tmp_path):
    plan, _ = planned()
    file = tmp_path / "answers.jsonl"
    rows = [{"question": p.question, "response": p.value} for p in reversed(plan.draw.transfer)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = made(*planned(transfer(f'texts = "{file}"')))
    assert [r.text for r in read["unprimed"].responses] == [p.value for p in plan.draw.transfer]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("samples = 2", "need a temperature above 0"),
        ('samples = 2\ntemperature = 1.0\ntexts = "gold"', "several samples require the teacher's own answers"),
        ('texts = "nobody"', "'nobody' is not 'own', 'gold', a strategy of this run, or a .jsonl file"),
        ('filter = "wrong"', "transfer.filter"),
    ],
)
def test_mistakes_of_the_policies_are_told(planned, line, words):
    with pytest.raises(ConfigError, match=words):
        planned(transfer(line))


def test_students_of_different_problems_are_a_finding():
    from kdprobe.experiment.arm_results import ArmResults
    from kdprobe.experiment.audit import _unmatched

    def arm(name, kept):
        return ArmResults(name, name, "logits", 0, None, kept, None, [], {}, None)

    (finding,) = _unmatched(
        [arm("unprimed", [["p1", 0]]), arm("primed", [["p1", 0], ["p2", 0]]), arm("untrained", None)]
    )
    assert finding.code == "unmatched-filter"
    assert "unprimed 1, primed 2; 1 in common" in finding.evidence
    assert _unmatched([arm("unprimed", [["p1", 0], ["p1", 1]]), arm("primed", [["p1", 0]])]) == []
