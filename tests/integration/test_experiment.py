import datetime as dt
import html
import json
import os
import re
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def compared(finished):
    from kdprobe.experiment.results import comparison_of
    from kdprobe.host.registry import Host

    return comparison_of(finished[2], Host().all("extractors"))


@pytest.fixture(scope="module")
def finished(torch, tiny_model, tiny_config, tmp_path_factory):
    """A tiny experiment, run once: its plan, store and results."""
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.results import load_results
    from kdprobe.experiment.run import run
    from kdprobe.experiment.store import Store
    from kdprobe.host.registry import Host

    host = Host()
    plan = make_plan(load_experiment(tiny_config(tiny_model), host), host)
    store = Store(tmp_path_factory.mktemp("store"))
    return plan, store, load_results(store, run(plan, store))


def times(store):
    return {file: file.stat().st_mtime_ns for file in (store.root / "stages").rglob("*") if file.is_file()}


def test_every_arm_has_a_record_of_every_test_problem(finished):
    plan, _, results = finished
    assert [arm.name for arm in results.arms] == ["untrained", "fine-tuned", "unprimed", "teacher"]
    for arm in results.arms:
        assert [record["id"] for record in arm.records] == [problem.id for problem in plan.draw.test]
        assert all(1 <= record["tokens"] <= 8 for record in arm.records)
        assert all(record["log_p_gold_solution"] < record["log_p_gold_value"] < 0 for record in arm.records)
        assert all(record["gold_tokens"] > 5 for record in arm.records)


def test_its_record_has_all_plugins_that_were_loaded(finished):
    from kdprobe.host.registry import Host

    loaded = finished[2].record["loaded_plugins"]
    assert loaded == [
        {"package": plugin.source, "plugin": plugin.name, "version": plugin.version, "source": plugin.source_hash}
        for plugin in Host().providers
        if plugin.status == "ok"
    ]
    assert {"builtin:probing", "builtin:strategies"} <= {plugin["plugin"] for plugin in loaded}


def test_arms_were_trained_and_taught_as_planned(finished):
    by = {arm.name: arm for arm in finished[2].arms}
    assert by["untrained"].training is by["untrained"].adapter is by["fine-tuned"].fidelity is None
    assert all(by[name].training["adapter_norm"] > 0 for name in ("fine-tuned", "unprimed", "teacher"))
    assert all(by[name].fidelity["responses"] == 4 for name in ("unprimed", "teacher"))


def test_run_plan_and_page_say_which_modules_have_adapters(finished, compared, run_cli, tiny_model, tiny_config):
    from kdprobe.api.results.run import run_data
    from kdprobe.experiment.results import arms_of
    from kdprobe.experiment.stages.distill import adapted_modules
    from kdprobe.report.page import render

    plan, store, results = finished
    sentence = "The distiller 'logits' trains adapters on q_proj, k_proj, v_proj, o_proj."
    planned = run_cli("plan", tiny_config(tiny_model), "--store", store.root)
    assert sentence in " ".join(planned.split())
    # Nothing is left to estimate.
    assert "Time" not in planned
    assert sentence in html.unescape(render(results, compared, arms_of(results)))
    assert run_data(results, compared, results.folder)["adapters"] == adapted_modules(plan.stages)


def test_findings_are_those_of_the_answers_and_of_the_training(compared):
    codes = {finding.code for finding in compared.findings}
    # Its problems are Tom's apples over and over, and do not say that they come from one template.
    assert {"cut-off", "single-seed", "contamination"} <= codes
    # Known when it was planned.
    assert "too-few-problems" in codes
    assert len([finding for finding in compared.findings if finding.code == "single-seed"]) == 1
    assert not codes & {"adapter-did-not-move", "unequal-budget", "unequal-versions"}


def test_answers_are_audited_for_traces_of_the_priming(finished, compared):
    from kdprobe.api.results.run import run_data
    from kdprobe.experiment.results import arms_of
    from kdprobe.report.page import render
    from kdprobe.strategies.plugin import TEACHER
    from pages import text_of

    results = finished[2]
    conversations = results.record["conversations"]
    passage = re.sub(r"[^a-z ]", "", TEACHER.lower())
    assert conversations["teacher"]["priming"] == [passage]
    assert conversations["unprimed"]["priming"] == []
    rates = {
        (rate["name"], rate["kind"]): rate for rate in run_data(results, compared, results.folder)["leaks"]["rates"]
    }
    kinds = {"hedging", "self-correction", "hint", "quote"}
    tested = {key for key, rate in rates.items() if rate["p_holm"] is not None}
    assert tested == {("teacher", kind) for kind in kinds}
    for kind in kinds:
        assert rates["teacher", kind]["against"] == "unprimed"
        assert 0 <= rates["teacher", kind]["teacher"] <= 1
    lengths = {length.name: length.tokens for length in compared.leaks.lengths}
    for arm in results.arms:
        assert lengths[arm.name] == pytest.approx(np.mean([record["tokens"] for record in arm.records]))
    text = text_of(render(results, compared, arms_of(results)))
    assert "Length of the answers" in text
    assert re.search(r"teacher quote [\d.]+% unprimed", text)


def test_records_without_the_priming_give_it_from_the_first_conversation(finished):
    from kdprobe.experiment.teaching.texts import teachings

    results = finished[2]
    older = {
        strategy: {key: value for key, value in pair.items() if key != "priming"}
        for strategy, pair in results.record["conversations"].items()
    }
    known = teachings(results.written, results.record | {"conversations": older})
    [passage] = known["teacher"].priming
    [recorded] = results.record["conversations"]["teacher"]["priming"]
    assert passage == recorded
    assert known["unprimed"].priming == []
    assert len(known["teacher"].answers) == len(known["teacher"].questions) == 4


def test_a_damaged_transfer_set_is_named_rather_than_left_out_of_the_audit(finished, tmp_path):
    from dataclasses import replace

    from kdprobe.experiment.integrity.checks import DamagedStageError
    from kdprobe.experiment.teaching.texts import written_answers

    results = finished[2]
    arms = [replace(arm, transfer=tmp_path / "gone") if arm.transfer else arm for arm in results.arms]
    with pytest.raises(DamagedStageError, match="gone is damaged"):
        written_answers(arms, results.checks)


def test_a_report_reads_and_checks_each_transfer_set_once(finished, monkeypatch):
    from kdprobe.experiment.integrity import manifest
    from kdprobe.experiment.results import arms_of, comparison_of, load_results
    from kdprobe.experiment.store import Store
    from kdprobe.problems.extractors import Robust
    from kdprobe.report.page import render
    from kdprobe.transfer import transfer_set

    hashed, read = Counter(), Counter()

    def counted(function, counter):
        def counting(file, **options):
            counter[file] += 1
            return function(file, **options)

        return counting

    monkeypatch.setattr(manifest, "sha256", counted(manifest.sha256, hashed))
    monkeypatch.setattr(transfer_set, "footer_digest", lambda file: pytest.fail(f"{file} hashed again"))
    monkeypatch.setattr(transfer_set, "read_texts", counted(transfer_set.read_texts, read))
    results = load_results(Store(finished[1].root), finished[2].run)
    assert not read
    render(results, comparison_of(results, {"robust": Robust()}), arms_of(results))
    sets = {arm.transfer / transfer_set.ROWS for arm in results.arms if arm.transfer}
    assert len(sets) == 2
    assert read == dict.fromkeys(sets, 1)
    assert {file: hashed[file] for file in sets} == dict.fromkeys(sets, 1)
    assert max(hashed.values()) == 1


def test_correct_is_what_the_response_says(finished):
    from kdprobe.problems.answers import extract, matches

    for arm in finished[2].arms:
        for record in arm.records:
            assert record["correct"] == matches(extract(record["response"]), record["gold"])


def test_lm_evals_own_scores_are_the_records(finished, compared, torch, tiny_record):
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from kdprobe.evaluation.protocol import task_folder
    from kdprobe.models.load import load

    plan, store, results = finished
    loaded = load(tiny_record)
    folder = store.root / "for-lm-eval"
    folder.mkdir()
    rows = [json.dumps({"question": p.question, "answer": p.solution}) for p in plan.draw.test]
    for part in ("train", "test"):
        (folder / f"{part}.jsonl").write_text("\n".join(rows))
    theirs = simple_evaluate(
        model=HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=1, add_bos_token=False),
        tasks=["gsm8k_kdprobe"],
        task_manager=TaskManager(
            include_path=str(task_folder()), include_defaults=False, metadata={"folder": str(folder)}
        ),
        apply_chat_template=True,
        gen_kwargs={"max_gen_toks": 8},
        bootstrap_iters=0,
        log_samples=True,
    )
    samples = sorted(theirs["samples"]["gsm8k_kdprobe"], key=lambda sample: sample["doc_id"])
    ours = results.arms[0].records
    assert [sample["resps"][0][0] for sample in samples] == [record["response"] for record in ours]
    assert [bool(sample["exact_match"]) for sample in samples] == [record["correct"] for record in ours]
    accuracy = theirs["results"]["gsm8k_kdprobe"]["exact_match,none"]
    assert accuracy == compared.arms[0].accuracy


def test_gold_value_endpoint_is_that_of_a_plain_forward_pass(finished, torch, tiny_record):
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load
    from kdprobe.strategies.prompt_pair import bare

    plan, _, results = finished
    loaded = load(tiny_record)
    tokenizer = loaded.tokenizer
    for problem, record in zip(plan.draw.test, results.arms[0].records, strict=True):
        prompt = prompt_ids(tokenizer, bare(problem))
        # Up to where the last line of the reasoning says "= value"; its tokens are then the last ones that spell it.
        stated = problem.plain_solution.rindex(f"= {problem.value}") + len(f"= {problem.value}")
        solution = tokenizer(problem.plain_solution[:stated], add_special_tokens=False)["input_ids"]
        count = next(n for n in range(1, 9) if tokenizer.decode(solution[-n:]).strip() == problem.value)
        with torch.inference_mode():
            logprobs = loaded.model(torch.tensor([[*prompt, *solution]])).logits[0].double().log_softmax(-1)
        places = range(len(prompt) + len(solution) - count, len(prompt) + len(solution))
        expected = sum(float(logprobs[place - 1, solution[place - len(prompt)]]) for place in places)
        assert record["log_p_gold_value"] == pytest.approx(expected, abs=1e-3)


def test_heads_table_has_a_row_per_student_metric_layer_and_head(finished):
    (heads,) = finished[2].analyses
    table = pd.read_parquet(heads.tables["heads"])
    metrics = table.metric.nunique()
    assert metrics >= 14
    assert len(table) == 4 * metrics * 2 * 4
    assert set(table.problem) == {"pooled"}
    assert set(pd.read_parquet(heads.tables["heads_by_problem"]).problem) == {"test-1", "test-2"}
    missing = table[table.value.isna()]
    assert set(missing.metric) == {"similarity", "similarity_normalised"}
    assert set(missing.layer) == {0}
    means = table[table.metric == "entropy"].pivot(index=["layer", "head"], columns="student", values="value")
    assert (np.abs(means["teacher"] - means["untrained"]) > 0).any()


def test_two_problems_are_too_few_to_tell_which_heads_moved(finished):
    (heads,) = finished[2].analyses
    moved = [sentence for sentence in heads.statements if " compared with untrained: " in sentence]
    assert [sentence.split(" compared with ")[0] for sentence in moved] == ["fine-tuned", "unprimed", "teacher"]
    assert all(": 2 problems are too few to tell whether a head moved." in sentence for sentence in moved)
    table = pd.read_parquet(heads.tables["differences"])
    assert table.moved.isna().all()


def test_other_analyses_of_a_finished_run_take_its_students_and_scores(finished, tiny_model, tiny_config, tmp_path):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.results import load_results
    from kdprobe.experiment.run import run
    from kdprobe.experiment.store import Store
    from kdprobe.host.registry import Host

    shutil.copytree(finished[1].root, tmp_path, dirs_exist_ok=True)
    host, store = Host(), Store(tmp_path)
    extra = 'analyses = ["divergence", "attention", "association", "confidence"]'
    plan = make_plan(load_experiment(tiny_config(tiny_model, extra=extra), host), host)
    evaluations = {arm.evaluate.key for arm in plan.arms}
    reads = {name: evaluations <= {needed.key for needed in stage.inputs} for name, stage in plan.analyses.items()}
    assert reads == {"divergence": False, "attention": False, "association": True, "confidence": True}
    assert [stage.kind for stage in plan.stages if not store.has(stage)] == ["analyse"] * 4
    analyses = {analysis.name: analysis for analysis in load_results(store, run(plan, store)).analyses}
    answers = pd.read_parquet(analyses["confidence"].tables["answers"])
    assert list(answers.student.unique()) == [arm.student.name for arm in plan.arms]
    assert all(analysis.statements and analysis.figures for analysis in analyses.values())


def test_run_record_holds_what_decides_the_run(finished):
    plan, store, results = finished
    assert results.record["config"]["name"] == "tiny"
    assert set(results.record["conversations"]) == {"unprimed", "teacher"}
    assert results.record["student"]["digest"] == plan.student.digest
    assert results.record["plugins"]["strategies/teacher"]["plugin"] == "builtin:strategies"
    assert store.runs() == [plan.run]


def said(store, run):
    """The arms that a run's record calls unprimed, and its verdict."""
    from kdprobe.experiment.results import comparison_of, load_results
    from kdprobe.host.registry import Host

    results = load_results(store, run)
    unprimed = [arm.name for arm in results.arms if arm.unprimed]
    return unprimed, comparison_of(results, Host().all("extractors")).verdict


def in_other_words(verdict, names):
    pattern = "|".join(rf"\b{name}\b" for name in names)
    return [re.sub(pattern, lambda match: names[match[0]], sentence) for sentence in verdict]


def test_labels_change_names_and_no_verdict(finished, compared, tiny_model, tiny_config, run_cli, tmp_path):
    from kdprobe.api.results.cards import training_facts
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.results import load_results
    from kdprobe.experiment.run import run
    from kdprobe.experiment.store import Store
    from kdprobe.host.registry import Host

    shutil.copytree(finished[1].root, tmp_path, dirs_exist_ok=True)
    host, store = Host(), Store(tmp_path)
    labelled = '[{ name = "none", label = "bare" }, { name = "teacher", label = "none" }]'
    plan = make_plan(load_experiment(tiny_config(tiny_model, strategies=labelled), host), host)
    # Labels decide nothing but what tables hold.
    assert {stage.kind for stage in plan.stages if not store.has(stage)} == {"analyse"}
    unprimed, verdict = said(store, run(plan, store))
    assert unprimed == ["bare"]
    assert verdict == in_other_words(compared.verdict, {"unprimed": "bare", "teacher": "none"})
    assert verdict != compared.verdict
    assert "The difference in log p(gold value) is" in verdict[0]
    assert "differs by +0.00 nats" not in verdict[0]
    # By what the run calls them, else by the strategy's name.
    names = [f"{plan.run}/{name}" for name in ("none", "teacher", "bare")]
    told = json.loads(run_cli("compare", names[0], names[2], "--store", tmp_path, "--json"))
    assert json.loads(run_cli("compare", names[1], names[2], "--store", tmp_path, "--json")) == told
    # Another run is compared by what taught its students, not by what they are called.
    pairs = json.loads(run_cli("report", finished[0].run, plan.run, "--store", tmp_path, "--json"))["pairs"]
    assert [(pair["a"].rpartition("/")[2], pair["b"].rpartition("/")[2]) for pair in pairs] == [
        ("untrained", "untrained"),
        ("fine-tuned", "fine-tuned"),
        ("bare", "unprimed"),
        ("none", "teacher"),
    ]
    assert {pair["difference"] for pair in pairs} == {0}
    config = plan.experiment.model_dump(mode="json")
    facts = [training_facts(config, arm=arm, libraries={}) for arm in load_results(store, plan.run).arms[2:]]
    assert [row["prompt strategy"] for row in facts] == ["bare, without priming", "teacher, labelled none"]


def test_a_template_of_the_question_alone_is_unprimed_too(tiny_model, tiny_config):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.registry import Host

    host = Host()
    plain = '["none", { name = "template", label = "plain", options = { text = "{question}" } }, "teacher"]'
    plan = make_plan(load_experiment(tiny_config(tiny_model, strategies=plain), host), host)
    assert [arm.student.name for arm in plan.arms if arm.unprimed] == ["unprimed", "plain"]


@pytest.mark.parametrize(("name", "labels"), [("none", (None, None)), ("bare", ("bare", "none"))])
def test_records_without_roles_are_read(finished, compared, tmp_path, name, labels):
    from kdprobe.experiment.results import load_results
    from kdprobe.experiment.store import Store

    plan, store, _ = finished
    old = Store(shutil.copytree(store.root, tmp_path / "store"))
    file = old.run_folder(plan.run) / "run.json"
    record = json.loads(file.read_text())
    del record["checksum"]
    names = {"unprimed": name, "teacher": labels[1] or "teacher"}
    for strategy, label in zip(record["config"]["strategies"], labels, strict=True):
        strategy["label"] = label
    for arm in record["arms"]:
        del arm["unprimed"], arm["strategy_name"]
        for key in ("name", "arm", "strategy"):
            arm[key] = names.get(arm[key], arm[key])
    file.write_text(json.dumps(record))
    unprimed, verdict = said(old, plan.run)
    assert unprimed == [name]
    assert verdict == in_other_words(compared.verdict, names)
    assert load_results(old, plan.run).arm("teacher").strategy_name == "teacher"


def test_a_second_run_makes_no_stage(finished, tiny_model, tiny_config):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.run import run
    from kdprobe.host.registry import Host

    plan, store, _ = finished
    before = times(store)
    host = Host()
    again = make_plan(load_experiment(tiny_config(tiny_model), host), host)
    assert run(again, store) == plan.run
    assert times(store) == before


def test_a_change_of_the_evaluation_leaves_the_training_alone(finished, tiny_model, tiny_config):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.registry import Host

    plan, store, _ = finished
    host = Host()
    file = tiny_config(tiny_model)
    file.write_text(file.read_text().replace("[evaluation]\nmax_new_tokens = 8", "[evaluation]\nmax_new_tokens = 9"))
    changed = make_plan(load_experiment(file, host), host)
    assert changed.run != plan.run
    missing = {stage.kind for stage in changed.stages if not store.has(stage)}
    assert missing == {"evaluate"}


def test_an_unknown_run_is_refused(finished):
    from kdprobe.errors import UsageError
    from kdprobe.experiment.results import load_results

    with pytest.raises(UsageError, match="no finished run 'nothing'") as refused:
        load_results(finished[1], "nothing")
    assert "Did you mean" not in refused.value.hint
    with pytest.raises(UsageError) as refused:
        load_results(finished[1], "tinny")
    assert refused.value.hint == f"Did you mean 'tiny'? Finished runs: {finished[0].run}."
    with pytest.raises(UsageError) as refused:
        finished[2].arm("techer")
    assert refused.value.hint.startswith("Did you mean 'teacher'? Available arms: untrained, ")


def test_runs_are_listed_with_dates_problems_and_seeds(finished, run_cli, tmp_path):
    from kdprobe.experiment.store import Store
    from kdprobe.files import write_sealed

    plan, store, results = finished
    (row,) = json.loads(run_cli("runs", "--store", store.root, "--json"))
    moment = dt.datetime.fromisoformat(row["finished"])
    written = dt.datetime.fromtimestamp((results.folder / "run.json").stat().st_mtime, dt.UTC)
    # How long the page takes lies between them.
    assert abs(written - moment) < dt.timedelta(hours=1)
    assert (row["problems"], row["seeds"]) == ({"transfer": 4, "test": 4}, [0])
    listed = run_cli("runs", "--store", store.root)
    for words in (plan.run, f"{moment.astimezone():%Y-%m-%d %H:%M}", "4 transfer", "4 test", "teacher 0.0%"):
        assert words in listed
    # As an earlier version left it.
    earlier = Store(shutil.copytree(store.root, tmp_path / "store"))
    record = {name: value for name, value in results.record.items() if name not in {"finished", "checksum"}}
    write_sealed(earlier.run_folder(plan.run) / "run.json", record)
    assert json.loads(run_cli("runs", "--store", earlier.root, "--json"))[0]["finished"] is None
    assert "unknown" in run_cli("runs", "--store", earlier.root)


def test_a_run_may_be_named_by_a_beginning_that_no_other_has(finished, tmp_path):
    import shutil

    from kdprobe.errors import UsageError
    from kdprobe.experiment.results import load_results
    from kdprobe.experiment.store import Store

    plan, store, results = finished
    assert load_results(store, plan.run[:-3]).run == results.run == plan.run
    twin = Store(shutil.copytree(store.root, tmp_path / "store"))
    shutil.copytree(twin.run_folder(plan.run), twin.run_folder(f"{plan.run}-again"))
    # Runs are listed newest first, and a copy is as old as what was copied.
    os.utime(twin.run_folder(f"{plan.run}-again") / "run.json", (0, 0))
    with pytest.raises(UsageError, match=r"is ambiguous: 2 finished runs in .* start with it") as refused:
        load_results(twin, plan.run[:-3])
    assert refused.value.hint == f"Choose one: {plan.run}, {plan.run}-again."
    # A whole name is that run, whatever else begins with it.
    assert load_results(twin, plan.run).folder == twin.run_folder(plan.run)


def test_runs_and_their_arms_are_compared_from_the_command_line(finished, run_cli, capsys):
    from kdprobe.cli import _run

    plan, store, results = finished
    where = ("--store", store.root, "--json")
    whole = json.loads(run_cli("compare", plan.run[:-3], *where))
    assert {pair["family"] for pair in whole["pairs"]} == {
        "distilled vs untrained",
        "distilled vs fine-tuned",
        "primed vs unprimed",
    }
    assert "single-seed" in {finding["code"] for finding in whole["findings"]}
    first, second = (f"{plan.run}/{arm}" for arm in ("unprimed", "teacher"))
    two = json.loads(run_cli("compare", first, second, *where))
    assert [(pair["a"], pair["b"], pair["family"]) for pair in two["pairs"]] == [(first, second, "all pairs")]
    assert json.loads(run_cli("compare", f"{plan.run}/none", second, *where)) == two
    file = store.root / "none.parquet"
    pd.DataFrame(results.arms[2].records).to_parquet(file)
    mixed = json.loads(run_cli("compare", file, second, *where))
    assert [arm["name"] for arm in mixed["arms"]] == ["none", second]
    for key in ("n", "only_a", "only_b", "p"):
        assert mixed["pairs"][0][key] == two["pairs"][0][key]
    assert _run(["compare", f"{plan.run}/nobody", second, "--store", str(store.root)]) == 2
    assert "has no arm 'nobody'" in capsys.readouterr().err
    for command in ("compare", "report"):
        assert _run([command, plan.run, "--strict", "--store", str(store.root)]) == 1
        told = capsys.readouterr()
        assert "single-seed" in told.out
        assert "The command fails because --strict is set" in told.err


def test_an_analysis_of_nobody_is_told_when_the_run_is_planned(tiny_config, tiny_model, tmp_path, capsys):
    from kdprobe.cli import _run

    looks = 'analyses = [{ name = "ablation", options = { students = ["none", "primed"] } }]'
    config = tiny_config(tiny_model, extra=looks)
    assert _run(["plan", str(config), "--store", str(tmp_path)]) == 2
    assert "'ablation' names an unknown student 'primed'" in capsys.readouterr().err


def test_stages_like_finished_ones_are_estimated(finished, run_cli, tiny_model, tiny_config, tmp_path):
    from kdprobe.files import read_json

    _, store, _ = finished
    seeds = tiny_config(tiny_model)
    seeds.write_text(f"seeds = [0, 1]\n{seeds.read_text()}")
    plan = json.loads(run_cli("plan", seeds, "--store", store.root, "--json"))
    missing = [stage for stage in plan["stages"] if stage["status"] == "missing"]
    assert {stage["kind"] for stage in missing} == {"distill", "evaluate", "analyse"}
    made = {
        (stage["kind"], stage["name"]): stage for stage in map(read_json, (store.root / "stages").rglob("stage.json"))
    }
    (trained,) = [stage for stage in missing if (stage["kind"], stage["name"]) == ("distill", "teacher@1")]
    assert trained["estimated_seconds"] == pytest.approx(made["distill", "teacher"]["seconds"])
    (heads,) = [stage for stage in missing if stage["kind"] == "analyse"]
    # Seven students instead of four read, on a base that is loaded once.
    assert 1 < heads["estimated_seconds"] / made["analyse", "heads"]["seconds"] < 7 / 4
    outlook = plan["outlook"]
    assert (outlook["known"], outlook["unknown"]) == (len(missing), 0)
    assert outlook["seconds"] == pytest.approx(sum(stage["estimated_seconds"] for stage in missing))
    shown = " ".join(run_cli("plan", seeds, "--store", store.root).split())
    assert "Time: about" in shown
    assert "estimated from finished stages with the same options" in shown
    nowhere = " ".join(run_cli("plan", seeds, "--store", tmp_path / "store").split())
    assert "estimated from the shapes of the models and a table of devices" in nowhere
    elsewhere = json.loads(run_cli("plan", seeds, "--store", tmp_path / "store", "--json"))
    assert {stage["estimated_from"] for stage in elsewhere["stages"]} == {0}
