"""lm-eval's own benchmarks with their own YAML, on small local data, against plain `lm_eval run`."""

import json
import os
import subprocess
import sys

import pytest

TASKS = ["arc_easy", "hellaswag", "mmlu", "lambada_openai", "wikitext", "ifeval"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from benchmark_data import write_benchmarks

    folder = tmp_path_factory.mktemp("benchmarks")
    write_benchmarks(folder)
    return folder


@pytest.fixture
def here(data, monkeypatch):
    """Inside the folder in which lm-eval's YAML finds the data."""
    monkeypatch.chdir(data)
    return data


@pytest.fixture(scope="module")
def loaded(torch, tiny_record):
    from kdprobe.models.load import load

    return load(tiny_record)


def _plain(data, out, model, tasks, *arguments):
    """The samples that plain `lm_eval run` writes, by task."""
    given = [
        "--model",
        "hf",
        "--model_args",
        f"pretrained={model},dtype=float32",
        "--tasks",
        tasks,
        "--batch_size",
        "4",
    ]
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "lm_eval",
            "run",
            *given,
            "--tasks",
            tasks,
            "--log_samples",
            "--output_path",
            str(out),
            *arguments,
        ],
        cwd=data,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    read = {}
    for file in out.rglob("samples_*.jsonl"):
        name = file.name.removeprefix("samples_").rsplit("_", 1)[0]
        read[name] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return read


@pytest.fixture(scope="module")
def plain(data, tiny_model, tmp_path_factory):
    """All documents of all tasks."""
    return _plain(data, tmp_path_factory.mktemp("plain"), tiny_model, ",".join(TASKS), "--gen_kwargs", "max_gen_toks=8")


def test_every_document_scores_as_in_plain_lm_eval(here, plain, loaded):
    from kdprobe.evaluation.tasks.choice import TaskChoice
    from kdprobe.evaluation.tasks.load import load_task
    from kdprobe.evaluation.tasks.run import do_task

    compared = 0
    for name in TASKS:
        task = load_task(TaskChoice(name, chat_template=False))
        for leaf in task.leaves.values():
            if leaf.OUTPUT_TYPE == "generate_until":
                leaf.set_config("generation_kwargs", {"max_gen_toks": 8}, update=True)
        for record in do_task(loaded, task, label=name):
            row = next(row for row in plain[record["task"]] if row["doc_id"] == record["doc_id"])
            for digest in ("doc_hash", "prompt_hash", "target_hash"):
                assert record[digest] == row[digest]
            value = row[record["metric"]]
            expected = value[0] / value[1] if isinstance(value, list) else float(value)
            assert record["score"] == pytest.approx(expected, abs=1e-5), (record["task"], record["metric"])
            compared += 1
    assert compared == 6 + 6 + 57 * 3 + 6 + 5 + 4


def test_random_documents_with_examples_in_the_chat_template_score_as_in_plain_lm_eval(
    here, tiny_model, loaded, tmp_path
):
    from kdprobe.evaluation.tasks.choice import TaskChoice
    from kdprobe.evaluation.tasks.load import load_task
    from kdprobe.evaluation.tasks.run import do_task

    task = load_task(TaskChoice("mmlu_stem", limit=12, num_fewshot=2, chat_template=True))
    assert 12 == task.size > len(task.documents) > 3
    records = do_task(loaded, task, label="mmlu_stem")
    samples = _plain(
        here, tmp_path, tiny_model, ",".join(task.documents), "--num_fewshot", "2", "--apply_chat_template",
        "--samples", json.dumps(task.documents),
    )  # fmt: skip
    assert len(records) == 12
    for record in records:
        [row] = [row for row in samples[record["task"]] if row["doc_id"] == record["doc_id"]]
        assert (record["doc_hash"], record["prompt_hash"]) == (row["doc_hash"], row["prompt_hash"])
        assert record["score"] == row["acc"]
        expected = [float(answer[0][0]) for answer in row["resps"]]
        assert [answer[0][0] for answer in json.loads(record["responses"])] == pytest.approx(expected, abs=1e-4)
