"""Every built-in fulfils the contract that the test kit requires of third-party plugins."""

import json

import pytest

from kdprobe.host.candidates import builtin_candidates
from kdprobe.host.discovery import discover
from kdprobe.host.registry import Host
from kdprobe.testing import (
    check_analysis,
    check_distiller,
    check_extractor,
    check_head_metric,
    check_problem_source,
    check_strategy,
    check_task,
    check_teacher,
    problem_rows,
)

HOST = Host(discover(builtin_candidates()))
TRAINING = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-2}


@pytest.mark.parametrize("name", HOST.names("strategies"))
def test_strategies(name):
    check_strategy(HOST, name, {"text": "Think of {x}.\n\n{question}"} if name == "template" else None)


@pytest.mark.parametrize("name", HOST.names("extractors"))
def test_extractors(name):
    check_extractor(HOST, name, reads={"She has 3 + 4 = 7 apples.\n#### 7": "7", "So 1200 in all.\n#### 1,200": "1200"})


@pytest.mark.parametrize("name", HOST.names("problem-sources"))
def test_problem_sources(name, tmp_path, monkeypatch):
    files = {"transfer": tmp_path / "train.jsonl", "test": tmp_path / "test.jsonl"}
    for first, file in enumerate(files.values()):
        file.write_text("".join(f"{json.dumps(row)}\n" for row in problem_rows(100 * first, 60)), encoding="utf-8")
    monkeypatch.setenv("KDPROBE_GSM8K", str(tmp_path))
    options = {"jsonl": {key: str(file) for key, file in files.items()}, "gsm-symbolic": {"templates": [6, 16]}}
    check_problem_source(HOST, name, options.get(name))


@pytest.mark.parametrize("name", HOST.names("tasks"))
def test_tasks(name):
    check_task(HOST, name)


@pytest.mark.parametrize("name", HOST.names("teachers"))
def test_teachers(name, tiny_model):
    assert all(answer.rows for answer in check_teacher(HOST, name, {"model": str(tiny_model), "batch_size": 2}))


@pytest.mark.parametrize("name", HOST.names("distillers"))
def test_distillers(name, train_context, torch):
    check_distiller(HOST, name, TRAINING, train_context)


@pytest.mark.parametrize("name", HOST.names("head-metrics"))
def test_head_metrics(name, torch):
    check_head_metric(HOST, name)


@pytest.mark.parametrize("name", HOST.names("analyses"))
def test_analyses(name, analysis_context, torch):
    check_analysis(HOST, name, None, analysis_context)
