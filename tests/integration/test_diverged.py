"""Training that diverges is a result: the run continues without the student, and the training is not repeated."""

import json

import pytest

RATE = "learning_rate = 1e-2"
REASON = "diverged: The loss is nan at training step 2."


def spoilt(config, *, fine_tuned=False, distilled=False, extra=""):
    """A config whose training runs diverge at their second step."""
    head, options, rest = config.read_text().partition("fine_tune_options")
    head = head.replace(RATE, "learning_rate = 1e36") if distilled else head
    rest = rest.replace(RATE, "learning_rate = 1e36") if fine_tuned else rest
    config.write_text(head + options + rest + extra)
    return config


def contents(store):
    return {file: file.read_bytes() for file in (store / "stages").rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def done(tiny_config, tiny_model, run_cli, tmp_path_factory):
    """A run whose fine-tuned student diverges, with its store and what it printed."""
    extra = '\nanalyses = ["geometry"]\n'
    config = spoilt(tiny_config(tiny_model), fine_tuned=True, extra=extra)
    store = tmp_path_factory.mktemp("store")
    return config, store, json.loads(run_cli("run", config, "--store", store, "--json"))


def test_the_run_goes_on_with_the_other_arms(done):
    _, _, data = done
    assert [arm["name"] for arm in data["arms"]] == ["untrained", "unprimed", "teacher"]
    pairs = ["unprimed - fine-tuned", "teacher - fine-tuned"]
    assert data["absent"] == [{"name": "fine-tuned", "reason": REASON, "pairs": pairs}]
    assert {pair["family"] for pair in data["pairs"]} == {"distilled vs untrained", "primed vs unprimed"}
    finding = next(finding for finding in data["findings"] if finding["code"] == "diverged")
    assert finding["evidence"] == f"fine-tuned {REASON}"
    assert "Lower the learning rate" in finding["action"]


def test_analyses_leave_the_student_out_and_say_so(done):
    _, store, data = done
    statements = data["analyses"]["geometry"]["statements"]
    assert statements[0] == f"fine-tuned is excluded: its training {REASON}"
    assert len(statements) > 1
    import pandas as pd

    tables = [pd.read_parquet(file) for file in store.glob("stages/analyse/*/*.parquet")]
    students = {student for table in tables if "student" in table for student in table["student"]}
    assert students == {"unprimed", "teacher"}


def test_a_later_run_trains_nothing_again(done, run_cli):
    config, store, data = done
    before = contents(store)
    again = json.loads(run_cli("run", config, "--store", store, "--json"))
    assert again == data
    assert contents(store) == before


def test_page_and_tables_name_the_arm(done, run_cli, capsys):
    _, store, data = done
    printed = " ".join(run_cli("report", "--store", store).split())
    assert f"fine-tuned {REASON}" in printed
    assert "Not compared: unprimed - fine-tuned, teacher - fine-tuned." in printed
    page = (store / "runs" / data["run"] / "report.html").read_text()
    assert "<h2>Arms without answers</h2>" in page
    assert f"fine-tuned {REASON}" in page
    assert "fine-tuned without answers" in run_cli("runs", "--store", store)
    compared = json.loads(
        run_cli("compare", f"{data['run']}/fine-tuned", f"{data['run']}/teacher", "--store", store, "--json")
    )
    assert [arm["reason"] for arm in compared["absent"]] == [REASON]
    assert compared["verdict"] == ["There is only one arm, so there is nothing to compare."]


def test_there_is_no_student_to_export(done, tmp_path, capsys):
    from kdprobe.cli import _run

    _, store, data = done
    code = _run(["export", f"{data['run']}/fine-tuned", "--merged", str(tmp_path / "out"), "--store", str(store)])
    assert code == 1
    assert f"has no student, because its training {REASON}" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_changed_config_trains_again_and_only_that(done, run_cli, tmp_path):
    config, store, _ = done
    fixed = tmp_path / "fixed.toml"
    fixed.write_text(config.read_text().replace("1e36", "1e-2"))
    stages = json.loads(run_cli("plan", fixed, "--store", store, "--json"))["stages"]
    missing = [(stage["kind"], stage["name"]) for stage in stages if stage["status"] != "done"]
    assert missing[:2] == [("distill", "fine-tuned"), ("evaluate", "fine-tuned")]
    assert {kind for kind, _ in missing[2:]} == {"analyse"}


def test_an_analysis_that_has_too_few_students_left_says_so(tiny_config, tiny_model, run_cli, tmp_path):
    extra = 'analyses = ["divergence"]'
    config = spoilt(tiny_config(tiny_model, '["teacher"]', extra=extra), fine_tuned=True, distilled=True)
    data = json.loads(run_cli("run", config, "--store", tmp_path, "--json"))
    assert [arm["name"] for arm in data["arms"]] == ["untrained"]
    assert data["analyses"]["divergence"]["statements"] == [
        f"fine-tuned is excluded: its training {REASON}",
        f"teacher is excluded: its training {REASON}",
        (
            "The analysis was skipped, because it cannot run on the remaining students: "
            "Divergence needs two students, but there is only 'untrained'."
        ),
    ]
    assert data["verdict"] == ["There is only one arm, so there is nothing to compare."]


def test_a_run_without_one_student_is_shown(capsys):
    from kdprobe.cli.show.comparison import show_comparison
    from kdprobe.comparison.arms import NO_ANSWERS, Arm
    from kdprobe.comparison.compare import compare
    from kdprobe.host.registry import Host

    compared = compare([Arm(name, NO_ANSWERS, absent="diverged at step 1.") for name in "ab"], Host().all("extractors"))
    assert compared.arms == compared.pairs == []
    show_comparison(compared)
    printed = " ".join(capsys.readouterr().out.split())
    assert "a diverged at step 1. Not compared: a - b." in printed
    assert "There is no pair of students, so there is nothing to compare." in printed


def test_seeds_that_diverged_pair_up_with_nobody():
    """Only what was planned is compared: other seeds are no substitute."""
    from kdprobe.comparison.answers import Outputs
    from kdprobe.comparison.arms import NO_ANSWERS, Arm
    from kdprobe.comparison.compare import compare
    from kdprobe.host.registry import Host

    outputs = Outputs(file="", responses=["#### 1"], gold=["1"], ids=["a"])
    arms = [
        Arm("primed@0", NO_ANSWERS, "primed", "logits", 0, absent="diverged"),
        Arm("primed@1", outputs, "primed", "logits", 1),
        Arm("unprimed@0", outputs, "unprimed", "logits", 0, unprimed=True),
        Arm("unprimed@1", NO_ANSWERS, "unprimed", "logits", 1, unprimed=True, absent="diverged"),
    ]
    compared = compare(arms, Host().all("extractors"))
    assert compared.pairs == []
    assert [arm.pairs for arm in compared.absent] == [["primed@0 - unprimed@0"], ["primed@1 - unprimed@1"]]
