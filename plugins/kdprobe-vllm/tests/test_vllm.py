"""vLLM at work on a small random model: the contract, adapters, and evaluations against the engine transformers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

import kdprobe
from kdprobe import KdprobeError, UsageError
from kdprobe.testing import check_engine, host_with, problem_rows, write_random_adapter

OPTIONS = {"kv_cache_gib": 0.5}
PLAIN = {"max_new_tokens": 16, "dtype": "float32", "progress": False}


@pytest.fixture(scope="session")
def adapters(model, tmp_path_factory):
    """Two plain adapters, one without any effect, and one that is no plain LoRA."""
    folder = tmp_path_factory.mktemp("adapters")
    write_random_adapter(model, folder / "a", seed=0, size=0.1)
    write_random_adapter(model, folder / "b", seed=1, size=0.1, r=4)
    write_random_adapter(model, folder / "none", size=0.0)
    write_random_adapter(model, folder / "dora", seed=2, size=0.1, use_dora=True)
    return folder


@pytest.fixture(scope="module")
def engine():
    """The engine; starting it takes long, so that tests share it."""
    opened = host_with("kdprobe_vllm").create("engines", "vllm", OPTIONS)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def loaded(model):
    """A function that loads a student with an engine in float32."""
    from kdprobe.models import resolve
    from kdprobe.students import Student

    bases = SharedModels()

    def load(engine, adapter=None):
        name = adapter.name if adapter else "base"
        return engine.load(Student(name, resolve(str(model)), adapter), dtype="float32", bases=bases)

    return load


class SharedModels:
    """As much of the host's shared models as an engine uses."""

    def base(self, record, *, dtype):
        from kdprobe.models import load_model

        return load_model(record, dtype=dtype)


def test_the_contract(model, adapters):
    check_engine(host_with("kdprobe_vllm"), "vllm", OPTIONS, model=model, adapters=[adapters / "a", adapters / "b"])


def test_adapters_are_requests_where_their_numbers_are_right_and_merged_where_not(engine, loaded, adapters, capsys):
    from kdprobe.teachers import Passage

    passage = Passage("p", [5, 6, 7], [8, 9, 10])
    plain = loaded(engine, adapters / "a")
    running = engine._running
    assert running.needs.rank == 8
    first = plain.score([passage])
    assert loaded(engine)._running is running, "the base runs beside its adapters"
    assert capsys.readouterr().err == ""
    merged = loaded(engine, adapters / "dora")
    assert engine._running is not running
    assert (
        "dora: merged for vLLM, because vLLM refuses it as a LoRA request (ValueError: vLLM does not yet support DoRA"
        in capsys.readouterr().err
    )
    assert merged.score([passage]) != first
    # Whether a LoRA without effect is applied cannot be seen, so it is not left to vLLM.
    loaded(engine, adapters / "none")
    assert "none: merged for vLLM, because its log-probabilities" in capsys.readouterr().err


def test_an_adapter_that_vllm_ignores_is_merged(engine, loaded, model, adapters, monkeypatch, capsys):
    """As in lm-evaluation-harness#2432."""
    from kdprobe.models import resolve
    from kdprobe.students import Student
    from kdprobe.teachers import Passage
    from kdprobe_vllm.check import expected_numbers, mean_difference
    from kdprobe_vllm.running import Running
    from kdprobe_vllm.student import log_probabilities

    real = Running.ask
    monkeypatch.setattr(Running, "ask", lambda self, prompts, some, _adapter: real(self, prompts, some, None))
    student = loaded(engine, adapters / "a")
    assert (
        "a: merged for vLLM, because vLLM's log-probabilities with a LoRA request are off by "
        in capsys.readouterr().err
    )
    student_a = Student("a", resolve(str(model)), adapters / "a")
    right = expected_numbers(student_a, "float32", SharedModels(), effect=True)
    assert right.effect > 0.01
    assert mean_difference(log_probabilities(engine._running, right.ids, None), right.log_p) < 1e-3
    assert student.score([Passage("p", right.ids[:5], right.ids[5:])])[0].log_p == pytest.approx(
        right.log_p[4:], abs=1e-2
    )
    monkeypatch.setattr(engine, "_options", engine._options.model_copy(update={"adapters": "lora"}))
    with pytest.raises(UsageError, match="cannot be passed to vLLM as a LoRA request: vLLM's log-probabilities"):
        loaded(engine, adapters / "a")


def test_a_model_with_other_numbers_is_refused(engine, loaded, monkeypatch):
    from kdprobe_vllm import engine as module

    real = module.log_probabilities
    monkeypatch.setattr(module, "log_probabilities", lambda *some: [value + 0.01 for value in real(*some)])
    with pytest.raises(KdprobeError, match=r"'base' differ from those of transformers by 0\.01 nats per token"):
        loaded(engine)


def test_stop_texts_end_answers_and_long_prompts_are_refused(engine, loaded):
    from kdprobe.evaluation import Decoding

    student = loaded(engine)
    prompt = student.tokenizer.encode("Tom has 3 apples")
    (free,) = student.decode([prompt], Decoding(16, frozenset()), lambda _: None)
    text = student.tokenizer.decode(free.token_ids)
    stop = text[4:7]
    counted = []
    (stopped,) = student.decode([prompt], Decoding(16, frozenset(), (stop,)), counted.append)
    assert stopped.finished
    assert counted == [len(stopped.token_ids)]
    assert stopped.token_ids == free.token_ids[: len(stopped.token_ids)]
    assert stop in student.tokenizer.decode(stopped.token_ids)
    assert stop not in student.tokenizer.decode(stopped.token_ids[:-1])
    with pytest.raises(KdprobeError, match=r"vLLM failed: .*maximum context length"):
        student.decode([[5] * 2000], Decoding(16, frozenset()), lambda _: None)


@pytest.fixture(scope="session")
def evaluated(model, adapters, tmp_path_factory):
    """The same problems by both engines, with two adapters: records, and documents of a task, by engine."""
    problems = problem_rows(0, 24)
    store = tmp_path_factory.mktemp("store")
    tasks = tmp_path_factory.mktemp("tasks")
    (tasks / "choices.jsonl").write_text(
        "".join(
            json.dumps({"question": row["question"], "choices": [" 1", " 22", " 3 apples"], "gold": index % 3}) + "\n"
            for index, row in enumerate(problem_rows(100, 12))
        ),
        encoding="utf-8",
    )
    (tasks / "choices.yaml").write_text(
        f"task: choices\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {tasks / 'choices.jsonl'}}}}}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{question}}'\ndoc_to_choice: '{{choices}}'\n"
        "doc_to_target: gold\nmetric_list: [{metric: acc}]\n",
        encoding="utf-8",
    )

    def evaluate(engine, **options):
        return kdprobe.evaluate(
            str(model),
            adapters={"a": adapters / "a", "b": adapters / "b"},
            with_base=True,
            problems=problems,
            tasks=["gsm8k_kdprobe", "choices"],
            include_path=tasks,
            store=store,
            engine=engine,
            options=options,
            **PLAIN,
        )

    return {"transformers": evaluate("transformers"), "vllm": evaluate("vllm", vllm=OPTIONS)}


def test_records_are_those_of_transformers(evaluated):
    theirs, ours = (evaluated[name].records for name in ("transformers", "vllm"))
    assert list(theirs) == list(ours)
    same = []
    for name, expected in theirs.items():
        found = ours[name]
        assert list(found.columns) == list(expected.columns)
        for column in ("id", "gold", "prompt_hash", "gold_tokens", "question"):
            assert list(found[column]) == list(expected[column]), column
        assert not found[["tokens", "cut_off", "log_p_gold_value", "log_p_gold_solution"]].isna().any().any()
        for column in ("log_p_gold_value", "log_p_gold_solution"):
            assert np.abs(found[column] - expected[column]).mean() < 1e-3, (name, column)
        alike = found["response"] == expected["response"]
        same += list(alike)
        for column in ("tokens", "cut_off", "value", "correct"):
            assert list(found[column][alike]) == list(expected[column][alike]), column
    assert np.mean(same) > 0.95
    # The adapters are not one student under several names.
    values = [tuple(table["log_p_gold_value"]) for table in ours.values()]
    assert len(set(values)) == len(values) == 3


def test_other_tasks_are_those_of_transformers(evaluated):
    theirs, ours = (pd.concat(evaluated[name].tasks.documents["choices"]) for name in ("transformers", "vllm"))
    assert len(ours) == len(theirs) == 36
    assert list(ours["prompt_hash"]) == list(theirs["prompt_hash"])
    for found, expected in zip(ours["responses"], theirs["responses"], strict=True):
        pairs = zip(json.loads(found), json.loads(expected), strict=True)
        for ((log_p, greedy),), ((other, was),) in pairs:
            assert float(log_p) == pytest.approx(float(other), abs=1e-3)
            assert greedy == was
    assert list(ours["score"]) == list(theirs["score"])


def test_the_engine_is_recorded_and_a_comparison_across_engines_is_told(evaluated):
    assert evaluated["vllm"].engine.startswith("vllm 0.")
    assert evaluated["vllm"].engine.endswith(", float32")
    assert evaluated["transformers"].engine.startswith("transformers ")
    files = [str(evaluated[name].files["a"]) for name in ("transformers", "vllm")]
    (finding,) = [one for one in kdprobe.compare(*files).findings if one.code == "unequal-decoding"]
    assert "engine: transformers" in finding.evidence
    assert "vllm" in finding.evidence
    same = kdprobe.compare(str(evaluated["vllm"].files["a"]), str(evaluated["vllm"].files["b"]))
    assert "unequal-decoding" not in [one.code for one in same.findings]


def test_the_command_line_prints_nothing_but_results(model, tmp_path):
    rows = tmp_path / "problems.jsonl"
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in problem_rows(0, 4)), encoding="utf-8")
    told = subprocess.run(
        [
            *(sys.executable, "-m", "kdprobe", "eval", str(model), "--problems", str(rows), "--max-new-tokens", "8"),
            *("--engine", "vllm", "--option", "vllm.kv_cache_gib=0.5", "--dtype", "float32", "--json"),
            *("--store", str(tmp_path / "store")),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    (row,) = json.loads(told.stdout)
    assert row["n"] == 4
    assert row["engine"].startswith("vllm ")
    assert not list(Path(tmp_path).glob("*.log"))


STARTED = """
import sys, time
from kdprobe.models import load_model, resolve
from kdprobe.students import Student
from kdprobe.testing import host_with

class Bases:
    def base(self, record, *, dtype):
        return load_model(record, dtype=dtype)

if __name__ == "__main__":
    engine = host_with("kdprobe_vllm").create("engines", "vllm", {"kv_cache_gib": 0.5})
    engine.load(Student("base", resolve(sys.argv[1])), dtype="float32", bases=Bases())
    print("started", flush=True)
    time.sleep(600)
"""


def test_its_processes_end_when_kdprobe_is_killed(model, tmp_path):
    script = tmp_path / "started.py"
    script.write_text(STARTED, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, script, model], stdout=subprocess.PIPE, text=True, env=environment
    ) as kdprobe_:
        try:
            assert kdprobe_.stdout.readline() == "started\n"
            started = psutil.Process(kdprobe_.pid).children(recursive=True)
            assert len(started) > 1
        finally:
            kdprobe_.kill()
    # Whoever collects orphans may be slow to.
    _, left = psutil.wait_procs(started, timeout=60)
    running = [process for process in left if process.status() != psutil.STATUS_ZOMBIE]
    for process in running:
        process.kill()
    assert not running


def test_an_experiment_runs_with_it(model, tmp_path):
    config = {
        "name": "mine",
        "strategies": ["none"],
        "resources": {"threads": 1},
        "problems": {"source": "gsm-symbolic", "options": {"templates": [6, 16]}, "transfer": 4, "test": 4},
        "student": {"model": str(model)},
        "teacher": {"options": {"model": str(model)}},
        "transfer": {"max_new_tokens": 16, "top_logprobs": 8},
        "distill": {"options": {"epochs": 1, "batch_size": 2, "learning_rate": 0.05}},
        "controls": {"untrained": False, "fine_tuned": False},
        "evaluation": {"max_new_tokens": 8, "batch_size": "auto", "engine": "vllm", "engine_options": OPTIONS},
        "probe": {"problems": 2, "batch_size": 2, "analyses": ["confidence"]},
    }
    run = kdprobe.run(config, store=tmp_path / "store", progress=False)
    assert len(run.scores) == 1
    record = json.loads((tmp_path / "store" / "runs" / run.name / "run.json").read_text(encoding="utf-8"))
    assert record["plugins"]["engines/vllm"]["plugin"] == "vllm"
    assert "vllm 0." in Path(run.report()).read_text(encoding="utf-8")
