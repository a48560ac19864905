"""`kdprobe eval --task NAME`: a user's own task, offline, with adapters, killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from own_tasks import questions, write_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tasks") / "own"
    write_task(made, "mine", questions(60))
    return made


@pytest.fixture(scope="module")
def adapters(torch, tiny_model, tmp_path_factory):
    """Two adapters: one that changes nothing, and one that changes much."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    made = {}
    for name, size in (("copy", 0.0), ("other", 0.5)):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        peft = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
        for parameter_name, parameter in peft.named_parameters():
            if "lora_B" in parameter_name:
                parameter.data = size * torch.randn_like(parameter)
        made[name] = tmp_path_factory.mktemp("adapters") / name
        peft.save_pretrained(made[name])
    return made


def test_scores_and_changes_of_adapters_against_their_base(tiny_model, folder, adapters, tmp_path):
    import kdprobe

    result = kdprobe.evaluate(
        str(tiny_model), adapters=adapters, with_base=True, tasks=["mine"], include_path=folder, limit=40,
        store=tmp_path / "store", out=tmp_path / "out", progress=False,
    )  # fmt: skip
    assert len(result.details) == 0
    assert result.tasks.scores[["task", "n"]].to_numpy().tolist() == [["mine", 40]] * 3
    documents = result.tasks.documents["mine"]
    base = documents[result.base]
    assert sorted(base.doc_id) == list(base.doc_id)
    assert list(base.doc_id) != list(range(40))
    changes = result.tasks.changes.set_index("a")
    for name in adapters:
        assert list(documents[name].prompt_hash) == list(base.prompt_hash)
        assert changes.change[name] == pytest.approx((documents[name].score - base.score).mean())
    assert changes.change["copy"] == 0
    assert list(documents["copy"].responses) == list(base.responses)
    assert list(documents["other"].responses) != list(base.responses)
    rows = result.to_dict()
    assert [row["change"] is None for row in rows] == [True, False, False]
    assert len((tmp_path / "out" / "copy-mine.jsonl").read_text().splitlines()) == 40


def test_a_killed_task_repeats_no_document(tiny_model, tmp_path, monkeypatch):
    from kdprobe.evaluation.ledger import Ledger
    from kdprobe.evaluation.tasks import recording
    from kdprobe.evaluation.tasks.recording import TaskModel

    own = tmp_path / "own"
    write_task(own, "long", questions(2000))
    command = ["eval", str(tiny_model), "--task", "long", "--include-path", str(own), "--batch-size", "4"]
    store = tmp_path / "store"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    running = subprocess.Popen(
        [sys.executable, "-m", "kdprobe", *command, "--store", str(store)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    ledger = None
    for _ in range(1200):
        ledger = next(store.rglob("answers.jsonl"), None)
        if ledger is not None and ledger.stat().st_size > 200_000:
            break
        assert running.poll() is None
        time.sleep(0.1)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    saved = sum(" " in name and not name.startswith("batch of") for name in Ledger(ledger)._entries)
    assert 0 < saved < 16_000
    asked, real = [], TaskModel.ask
    monkeypatch.setattr(TaskModel, "ask", lambda self, how, some: asked.append(len(some)) or real(self, how, some))
    said: list[str] = []
    monkeypatch.setattr(recording, "note", said.append)
    import kdprobe

    given = {"tasks": ["long"], "include_path": own, "batch_size": 4, "progress": False}
    resumed = kdprobe.evaluate(str(tiny_model), store=store, **given)
    assert asked == [16_000 - saved]
    assert any(f"resuming; {saved} of 16000 answers already saved." in sentence for sentence in said)
    whole = kdprobe.evaluate(str(tiny_model), store=tmp_path / "other", **given)
    one, other = (result.tasks.documents["long"] for result in (resumed, whole))
    [name] = one
    assert one[name].equals(other[name])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "mine", "--task", "mine"], "is given twice"),
        (["--task", "gsm8k_kdprobe", "--task", "gsm8k_kdprobe_cot"], "are variants of the same task"),
        (["--task", "mine", "--limit", "61"], "has only 60 documents"),
        (["--task", "humaneval"], "runs code that the model writes"),
        (["--task", "mine", "--num-fewshot", "70"], "has only 60 documents to draw 70 examples from"),
        (["--include-path", "OWN"], "has no effect, because no task from its folder is named"),
    ],
)
def test_wrong_use_is_told(arguments, words, tiny_model, folder, tmp_path, capsys):
    from kdprobe.cli import _run

    arguments = [str(folder) if argument == "OWN" else argument for argument in arguments]
    path = [] if "--include-path" in arguments else ["--include-path", str(folder)]
    assert _run(["eval", str(tiny_model), *arguments, *path, "--store", str(tmp_path / "store")]) in {1, 2}
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    assert "Traceback" not in said


def test_limits_draw_from_the_whole_group(torch):
    from kdprobe.evaluation.tasks.choice import TaskChoice
    from kdprobe.evaluation.tasks.load import _draw

    sizes = {"large": 900, "small": 100}
    drawn = _draw(TaskChoice("group", limit=200), sizes)
    assert sum(map(len, drawn.values())) == 200
    assert 5 <= len(drawn["small"]) <= 40
    assert all(sorted(set(indices)) == indices for indices in drawn.values())
    assert drawn == _draw(TaskChoice("group", limit=200), sizes)
    assert drawn != _draw(TaskChoice("group", limit=200, seed=1), sizes)
    assert _draw(TaskChoice("group"), sizes) == {"large": [*range(900)], "small": [*range(100)]}


def test_json_is_what_lm_eval_calls_it(tiny_model, folder, tmp_path, run_cli):
    arguments = ["--task", "mine", "--include-path", folder, "--limit", 3, "--store", tmp_path / "store"]
    [row] = json.loads(run_cli("eval", tiny_model, *arguments, "--json"))
    assert (row["task"], row["metric"], row["n"], row["unit"]) == ("mine", "acc", 3, "points")


def test_a_group_of_ones_own_may_name_tasks_of_lm_evals(tmp_path, monkeypatch):
    from benchmark_data import write_benchmarks
    from kdprobe.evaluation.tasks.choice import TaskChoice
    from kdprobe.evaluation.tasks.load import load_task

    write_benchmarks(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "own", "mine", questions(4))
    (tmp_path / "own" / "both.yaml").write_text("group: both\ntask: [mine, arc_easy]\n", encoding="utf-8")
    task = load_task(TaskChoice("both"), [tmp_path / "own"])
    assert task.documents == {"mine": [*range(4)], "arc_easy": [*range(6)]}
    before = task.digest
    (tmp_path / "own" / "used.py").write_text("CHANGED = 1\n", encoding="utf-8")
    assert load_task(TaskChoice("both"), [tmp_path / "own"]).digest != before


def test_only_tasks_of_lm_evals_need_its_list(tmp_path, monkeypatch):
    from kdprobe.evaluation.tasks import find, load
    from kdprobe.evaluation.tasks.choice import TaskChoice

    write_task(tmp_path / "own", "mine", questions(4))
    (tmp_path / "own" / "group.yaml").write_text("group: ours\ntask: [mine]\n", encoding="utf-8")
    monkeypatch.setattr(find, "_lm_evals", lambda: pytest.fail("listed all of lm-eval's tasks"))
    for name in ("mine", "ours"):
        assert load.load_task(TaskChoice(name), [tmp_path / "own"]).size == 4


def test_a_folder_precedes_lm_evals_tasks_in_groups(tmp_path, monkeypatch):
    from benchmark_data import write_benchmarks
    from kdprobe.evaluation.tasks.choice import TaskChoice
    from kdprobe.evaluation.tasks.load import load_task

    write_benchmarks(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "own", "mmlu_astronomy", questions(7))
    task = load_task(TaskChoice("mmlu_stem"), [tmp_path / "own"])
    assert len(task.documents["mmlu_astronomy"]) == 7
    assert len(task.documents["mmlu_anatomy"]) == 3


def test_documents_never_take_the_file_of_other_records(tiny_model, folder, adapters, tmp_path):
    import kdprobe
    from kdprobe.errors import UsageError

    alike = {"a": adapters["copy"], "a-mine": adapters["other"]}
    problems = [{"question": f"{n} + 1?", "answer": f"#### {n + 1}"} for n in range(2)]
    with pytest.raises(UsageError, match="would be written to the same file"):
        kdprobe.evaluate(
            str(tiny_model), adapters=alike, tasks=["gsm8k_kdprobe", "mine"], store=tmp_path / "store",
            out=tmp_path / "out", progress=False, include_path=folder, limit=2, problems=problems,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_yaml_is_named(tiny_model, tmp_path, capsys):
    from kdprobe.cli import _run

    write_task(tmp_path / "own", "mine", questions(4))
    damaged = tmp_path / "own" / "other.yaml"
    damaged.write_text("task: other\ndataset_path: [1\n", encoding="utf-8")
    given = ["--include-path", str(tmp_path / "own"), "--store", str(tmp_path / "store")]
    assert _run(["eval", str(tiny_model), "--task", "other", *given]) == 2
    assert f"Perhaps it is in {damaged}, which is not valid YAML" in " ".join(capsys.readouterr().err.split())
