"""The Python API on a tiny model: runs, students, evaluations and analyses are the same as those of the commands."""

import json
import shutil
import tomllib

import numpy as np
import pandas as pd
import pytest

import kdprobe
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.files import read_sealed, write_sealed
from pages import data_of, text_of


def careful(problem):
    """Asks the teacher to be careful."""
    return f"Be careful. {problem.question}"


@pytest.fixture(scope="module")
def config(tiny_model, tiny_config):
    """The tiny experiment as a dict, with `none` as its only strategy."""
    return tomllib.loads(tiny_config(tiny_model, strategies='["none"]').read_text())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def finished(config, store):
    return kdprobe.run(config, strategies={"careful": careful}, store=store, progress=False)


def test_a_function_is_a_strategy_like_any_other(finished, config, store):
    assert finished.scores["name"].tolist() == ["untrained", "fine-tuned", "unprimed", "careful"]
    record = finished.results.record
    asked = record["conversations"]["careful"]["teacher"]
    assert asked == [{"role": "user", "content": f"Be careful. {record['problems']['transfer'][0]['question']}"}]
    assert record["plugins"]["strategies/careful"]["plugin"] == "function:careful"
    planned = kdprobe.plan(config, strategies={"careful": careful}, store=store)
    assert planned.run == finished.name
    assert set(planned.stages["status"]) == {"done"}
    prompts = planned.prompts["careful"]
    assert prompts["id"].tolist() == [row["id"] for row in record["problems"]["transfer"]]
    assert prompts.loc[0, "teacher"] == asked
    assert prompts["student"].tolist() == planned.prompts["unprimed"]["teacher"].tolist()


def test_another_function_of_the_same_name_is_another_strategy(config, store):
    def careful(problem):
        return f"Be very careful. {problem.question}"

    planned = kdprobe.plan(config, strategies={"careful": careful}, store=store)
    stages = {(row.kind, row.name): row.status for row in planned.stages.itertuples()}
    assert stages["transfer", "careful"] == stages["distill", "careful"] == "missing"
    assert stages["transfer", "unprimed"] == stages["distill", "unprimed"] == "done"


def test_a_run_says_what_the_command_says(finished, store, run_cli):
    told = run_cli("report", finished.name, "--store", store, "--json")
    assert json.loads(finished.to_json()) == json.loads(told)
    again = kdprobe.load_run(finished.name[:8], store=store)
    assert again.to_json() == finished.to_json()
    assert kdprobe.load_run(store=store).name == finished.name
    assert kdprobe.compare(finished.name, store=store).pairs.equals(again.pairs)
    assert kdprobe.compare(finished).pairs.equals(again.pairs)
    assert kdprobe.score(finished).scores["correct"].tolist() == finished.scores["correct"].tolist()
    assert len(repr(finished).splitlines()) <= 41
    assert repr(finished.students["none"]) == f"<RunStudent 'unprimed' of {finished.name}>"
    assert finished.page.is_file()
    finished.page.unlink()
    assert again.report() == finished.page
    assert finished.page.is_file()


def test_a_report_of_two_runs_compares_arms_of_the_same_name_with_a_stated_run(finished, store, run_cli, tmp_path):
    both = shutil.copytree(store, tmp_path / "store")
    record = read_sealed(both / "runs" / finished.name / "run.json") | {"run": "second"}
    (both / "runs" / "second").mkdir()
    write_sealed(both / "runs" / "second" / "run.json", record)
    arms = ["untrained", "fine-tuned", "unprimed", "careful"]
    first, others = finished.name, [f"second/{arm}" for arm in arms]

    def reported(*options):
        told = json.loads(run_cli("report", "second", finished.name[:8], "--store", both, "--json", *options))
        return [(pair["a"], pair["b"]) for pair in told["pairs"]]

    assert reported() == [(f"{first}/{arm}", f"second/{arm}") for arm in arms]
    page = both / "runs" / "second" / "compared.html"
    shown = data_of(page.read_text(encoding="utf-8"))
    assert [(baseline["label"], len(baseline["rows"])) for baseline in shown["baselines"]] == [("second", 4)]
    assert f"(UTC) Run second; {first} Arms 8" in text_of(page.read_text(encoding="utf-8"))
    other = tmp_path / "other.html"
    assert reported("--baseline", first[:6], "--out", other) == [(f"second/{arm}", f"{first}/{arm}") for arm in arms]
    assert [baseline["label"] for baseline in data_of(other.read_text(encoding="utf-8"))["baselines"]] == [first]
    against = reported("--baseline", f"{first[:6]}/careful", "--out", other)
    assert against == [(arm, f"{first}/careful") for arm in (*others, *(f"{first}/{arm}" for arm in arms[:-1]))]
    with pytest.raises(kdprobe.UsageError, match="There is no arm 'third' to compare with"):
        kdprobe.compare("second", first, store=both, baseline="third", progress=False)


def test_tables_and_figures_of_a_run(finished):
    assert finished.scores["n"].tolist() == [4] * 4
    assert finished.answers["careful"]["correct"].sum() == finished.scores["correct"].iloc[3]
    assert list(finished.training) == ["fine-tuned", "unprimed", "careful"]
    assert finished.training["careful"]["loss"].gt(0).all()
    assert finished.answers["none"].equals(finished.answers["unprimed"])
    with pytest.raises(KdprobeError, match=r"/untrained has no training steps: it was not trained\."):
        finished.training["untrained"]
    assert set(finished.analyses.table("heads")["student"]) == set(finished.scores["name"])
    assert set(finished.figures) == {"accuracy", "loss", "tail"}
    assert list(finished.figures["accuracy"].data[0].y) == finished.scores["name"].tolist()
    shown = finished._repr_html_()
    assert all(name in shown for name in ("careful", finished.name))


def test_a_student_is_a_merged_model_and_a_bridge(finished, torch, tiny_model):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    student = finished.students["none"]
    assert student is finished.students["unprimed"]
    model, tokenizer = student.load()
    ids = tokenizer("Tom has 3 apples.", return_tensors="pt").input_ids
    base = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    with torch.inference_mode():
        untouched = base(ids).logits
        wanted = PeftModel.from_pretrained(base, student.adapter).eval()(ids).logits
        assert float((model(ids).logits - wanted).abs().max()) < 1e-5
        assert float((wanted - untouched).abs().max()) > 1e-4
        bridge = student.to_transformer_lens()
        assert float((bridge(ids, return_type="logits") - wanted).abs().max()) < 1e-4
    assert finished.students["untrained"].adapter is None


def test_students_that_there_are_not_are_sentences(finished):
    for named in (finished.students, finished.answers, finished.training):
        with pytest.raises(UsageError, match=r"has no arm 'nobody'\. Available arms: untrained, "):
            named["nobody"]
    assert "nobody" not in finished.students
    with pytest.raises(UsageError, match="There is no finished run 'nobody'"):
        kdprobe.load_run("nobody", store=finished.store.root)


def test_a_config_with_mistakes_lists_them_all(config):
    with pytest.raises(KdprobeError) as caught:
        kdprobe.plan({**config, "nme": 1, "seeds": [-1]})
    assert {line.partition(":")[0] for line in caught.value.mistakes} == {"nme", "seeds.0"}
    with pytest.raises(UsageError, match="problems: a config cannot contain a set"):
        kdprobe.plan({**config, "problems": {1, 2}})
    with pytest.raises(UsageError, match="The config is an int"):
        kdprobe.plan(3)


def test_a_plan_and_a_run_say_what_their_commands_say(tiny_model, tiny_config, tmp_path, run_cli):
    file, store = tiny_config(tiny_model, strategies='["none"]'), tmp_path / "store"
    planned = kdprobe.plan(tomllib.loads(file.read_text()), store=store)
    assert planned.to_json() + "\n" == run_cli("plan", file, "--store", store, "--json")
    assert planned.to_dict()["warnings"] == list(planned.warnings)
    assert set(planned.stages["status"]) == {"missing"}
    told = json.loads(run_cli("run", file, "--store", store, "--json"))
    again = kdprobe.run(file, store=store, progress=False)
    assert again.to_dict() == told
    assert told["warnings"] == list(again.warnings)


def test_threads_are_put_back(config, store, torch):
    before = torch.get_num_threads()
    planned = kdprobe.plan({**config, "resources": {"threads": before + 1}}, store=store)
    assert planned.threads == before + 1
    assert torch.get_num_threads() == before


@pytest.fixture(scope="module")
def adapter(tiny_model, make_adapter):
    return make_adapter(tiny_model, 1)


def test_an_evaluation_says_what_the_command_says(tiny_model, adapter, problem_rows, problem_files, store, run_cli):
    settings = {"with_base": True, "max_new_tokens": 8, "batch_size": 2, "store": store, "progress": False}
    result = kdprobe.evaluate(str(tiny_model), adapters={"mine": adapter}, problems=problem_files[1], **settings)
    told = run_cli(
        "eval", tiny_model, "--adapter", f"mine={adapter}", "--with-base", "--problems", problem_files[1],
        "--max-new-tokens", 8, "--batch-size", 2, "--store", store, "--json",
    )  # fmt: skip
    assert result.to_json() + "\n" == told
    assert list(result.files) == [tiny_model.name, "mine"]
    assert result.scores["n"].tolist() == [len(table) for table in result.records.values()] == [6, 6]
    assert result.scores["name"].tolist() == [row["name"] for row in json.loads(told)] == [tiny_model.name, "mine"]
    assert "cut-off" in {finding.code for finding in result.findings}
    assert kdprobe.score(result).scores["name"].tolist() == [tiny_model.name, "mine"]
    assert kdprobe.compare(result).to_dict() == kdprobe.compare(result.files).to_dict()
    assert kdprobe.compare(result.files).pairs[["a", "b"]].values.tolist() == [[tiny_model.name, "mine"]]
    # The same problems from memory are asked in the same words.
    frame = pd.DataFrame(problem_rows(50, 6))
    listed = [kdprobe.Problem.from_gsm8k(str(number), row) for number, row in enumerate(frame.to_dict("records"))]
    for problems in (frame, listed):
        other = kdprobe.evaluate(str(tiny_model), problems=problems, **settings | {"with_base": False})
        answers = [each.records[tiny_model.name]["response"].tolist() for each in (other, result)]
        assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": 0.001}, r"must be 0 \(greedy decoding\) or at least 0.01"),
        ({"top_p": 1.5}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"batch_size": 0}, "The batch size must be 'auto' or a positive integer, not '0'"),
        ({"limit": 0}, "The limit must be positive, not 0"),
        ({"dtype": "int7"}, "Unknown dtype 'int7'"),
        ({"tasks": "other"}, "There is no lm-eval task 'other'"),
        ({"adapters": "folder"}, "The adapters are a single string"),
        ({"date": "soon"}, "must be a date such as"),
        ({"options": {"elsewhere": {"a": 1}}}, "--option refers to 'elsewhere'"),
        ({"model_args": "a=1"}, "--model-args applies only to model types other than hf"),
        ({"extractor": "robst"}, "Did you mean 'robust'"),
    ],
)
def test_what_an_evaluation_cannot_do_is_one_sentence(tiny_model, problem_files, store, arguments, words):
    with pytest.raises(UsageError, match=words):
        kdprobe.evaluate(str(tiny_model), problems=problem_files[1], store=store, **arguments)


def test_probing_says_what_the_command_says(tiny_model, adapter, problem_files, run_cli):
    result = kdprobe.probe(
        str(tiny_model), adapters={"mine": adapter}, problems=problem_files[1], limit=3, progress=False
    )
    told = run_cli(
        "probe", tiny_model, "--adapter", f"mine={adapter}", "--problems", problem_files[1], "--limit", 3, "--json"
    )
    assert result.to_json() + "\n" == told
    assert set(result.table("heads")["student"]) == {tiny_model.name, "mine"}
    assert all(error < 1e-4 for checks in result.self_checks.values() for error in checks.values())


@pytest.fixture(scope="module")
def probed(tiny_model, adapter, problem_files):
    return kdprobe.probe(str(tiny_model), adapters={"mine": adapter}, problems=problem_files[1], limit=2)


def test_a_probed_student_is_a_merged_model_and_a_bridge(probed, torch, tiny_model, adapter):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert list(probed.students) == [tiny_model.name, "mine"]
    student = probed.students["mine"]
    assert (student.adapter, probed.students[tiny_model.name].adapter) == (adapter, None)
    assert repr(student) == "<ProbedStudent 'mine'>"
    model, tokenizer = student.load(progress=False)
    ids = tokenizer("Tom has 3 apples.", return_tensors="pt").input_ids
    base = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    with torch.inference_mode():
        untouched = base(ids).logits
        wanted = PeftModel.from_pretrained(base, adapter).eval()(ids).logits
        assert float((wanted - untouched).abs().max()) > 1e-4
        assert float((model(ids).logits - wanted).abs().max()) < 1e-5
        for name, logits in (("mine", wanted), (tiny_model.name, untouched)):
            bridge = probed.students[name].to_transformer_lens(progress=False)
            assert float((bridge(ids, return_type="logits") - logits).abs().max()) < 1e-4
    with pytest.raises(
        UsageError, match=rf"There is no student 'nobody'\. Available students: {tiny_model.name}, mine"
    ):
        probed.students["nobody"]


def test_a_probed_student_is_exported(probed, tmp_path, torch):
    from transformers import AutoModelForCausalLM

    exported = probed.students["mine"].export(tmp_path / "merged", dtype="float32", progress=False)
    model, tokenizer = probed.students["mine"].load(dtype="float32")
    ids = tokenizer("Tom has 3 apples.", return_tensors="pt").input_ids
    with torch.inference_mode():
        read = AutoModelForCausalLM.from_pretrained(exported.folder).eval()(ids).logits
        assert float((read - model(ids).logits).abs().max()) < 1e-5


def test_a_student_that_changed_since_it_was_probed_is_refused(tiny_model, make_adapter, problem_files, tmp_path):
    import shutil

    adapter = shutil.copytree(make_adapter(tiny_model, 1), tmp_path / "adapter")
    probed = kdprobe.probe(
        str(tiny_model), adapters={"mine": adapter}, problems=problem_files[1], limit=2, analyses=["geometry"]
    )
    shutil.copytree(make_adapter(tiny_model, 2), adapter, dirs_exist_ok=True)
    for use in (probed.students["mine"].load, probed.students["mine"].to_transformer_lens):
        with pytest.raises(KdprobeError, match=r"'mine' has changed since the call to `kdprobe.probe`\. Repeat"):
            use()
    probed.students[tiny_model.name].load()


def first_key(view):
    """Attention on the first key, over all queries after it."""
    later = view.valid_queries.clone()
    later[:, 0] = False
    return view.mean_over_queries(view.pattern[..., 0], later)


def test_a_function_measures_heads(tiny_model, problem_files, finished, config, store):
    table = kdprobe.probe(
        str(tiny_model), problems=problem_files[1], limit=2, head_metrics=[first_key], progress=False
    ).table("heads")
    values = table.set_index("metric").groupby("metric")["value"].apply(list)
    # The built-in sink is the same measure.
    assert values["first_key"] == pytest.approx(values["sink"])
    settings = {"strategies": {"careful": careful}, "store": store}
    plans = [kdprobe.plan(config, head_metrics=given, **settings) for given in (None, {"first_key": first_key})]
    stages = [{(row.kind, row.name): row.status for row in plan.stages.itertuples()} for plan in plans]
    assert {key for key in stages[0] if stages[0][key] != stages[1][key]} == {("analyse", "heads")}


def test_a_function_looks_into_students(tiny_model, adapter, problem_files):
    def first_layer(bridges, sequences, students):
        rows = []
        for student in students:
            booted = bridges.boot(student.name)
            ids = np.array([sequences[0].ids])
            _, cache = booted.bridge.run_with_cache(ids_of(ids))
            rows.append({"student": student.name, "attention": float(cache["blocks.0.attn.hook_pattern"][0, 0, 1, 0])})
        return pd.DataFrame(rows)

    def ids_of(ids):
        import torch

        return torch.tensor(ids)

    result = kdprobe.probe(
        str(tiny_model), adapters={"mine": adapter}, problems=problem_files[1], limit=2, analyses=[first_layer]
    )
    table = result.table("first_layer")
    assert table["student"].tolist() == [tiny_model.name, "mine"]
    assert table["attention"].between(0, 1).all()
    assert table["attention"].nunique() == 2
