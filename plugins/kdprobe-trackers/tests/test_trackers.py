"""Stages reported to a real MLflow database, and read back."""

import json
from dataclasses import replace

import pytest
from mlflow.tracking import MlflowClient

from kdprobe import FinishedStage
from kdprobe.testing import host_with

RUN = "mine-1234"


@pytest.fixture
def database(tmp_path, monkeypatch):
    address = f"sqlite:///{tmp_path / 'runs.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return address


@pytest.fixture
def tell(database, capsys):
    host = host_with("kdprobe_trackers")

    def notify(*stages):
        for stage in stages:
            host.notify(stage)
        # The host turns an observer's exception into a note.
        assert "failed after" not in capsys.readouterr().err

    return notify


@pytest.fixture
def stages(tmp_path):
    """The stages reported by a run of two arms."""
    (tmp_path / "training.json").write_text(
        json.dumps({"history": [{"step": 1, "loss": 2.0, "note": None}, {"step": 2, "loss": 1.0}]})
    )

    def stage(kind, name, **metrics):
        return FinishedStage(
            run=RUN,
            kind=kind,
            name=name,
            key=f"key of {kind} {name}",
            folder=tmp_path,
            seconds=1.5,
            made=True,
            metrics=metrics,
        )

    return [
        stage("transfer", "none", accuracy=0.8, longest=59.0),
        stage("distill", "none@0", loss=1.0, adapter_norm=3.0),
        stage("evaluate", "untrained", accuracy=0.025, log_p_gold_value=float("nan")),
        stage("evaluate", "none@0", accuracy=0.325, problems=80.0),
        stage("analyse", "heads"),
    ]


@pytest.fixture
def read(database):
    """MLflow's runs by name."""

    def runs(experiment="kdprobe"):
        client = MlflowClient(tracking_uri=database)
        found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
        by_name = {run.info.run_name: run for run in found}
        assert len(by_name) == len(found)
        return by_name

    return runs


def test_a_run_and_its_arms(tell, stages, read):
    tell(*stages)
    runs = read()
    assert set(runs) == {RUN, "transfer none", "none@0", "untrained", "analyse heads"}
    assert runs[RUN].data.metrics == {"accuracy/untrained": 0.025, "accuracy/none_0": 0.325}
    assert runs["none@0"].data.metrics == {
        "distill/seconds": 1.5,
        "distill/loss": 1.0,
        "distill/adapter_norm": 3.0,
        "training/loss": 1.0,
        "evaluate/seconds": 1.5,
        "evaluate/accuracy": 0.325,
        "evaluate/problems": 80.0,
    }
    assert runs["untrained"].data.metrics == {"evaluate/seconds": 1.5, "evaluate/accuracy": 0.025}
    assert runs["transfer none"].data.metrics["transfer/longest"] == 59.0
    assert runs["analyse heads"].data.metrics == {"analyse/seconds": 1.5}
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs.values()} == {None, runs[RUN].info.run_id}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_the_history_of_a_training_is_there_step_by_step(tell, stages, read, database):
    tell(*stages)
    history = MlflowClient(tracking_uri=database).get_metric_history(read()["none@0"].info.run_id, "training/loss")
    assert [(entry.step, entry.value) for entry in history] == [(1, 2.0), (2, 1.0)]


def test_telling_a_stage_again_changes_nothing(tell, stages, read, database):
    tell(*stages, *(replace(stage, made=False) for stage in stages))
    client = MlflowClient(tracking_uri=database)
    arm = read()["none@0"].info.run_id
    assert len(client.get_metric_history(arm, "evaluate/accuracy")) == 1
    assert len(client.get_metric_history(read()[RUN].info.run_id, "accuracy/none_0")) == 1


def test_other_runs_with_arms_of_the_same_name_stay_apart(tell, stages, database):
    tell(stages[2], replace(stages[2], run="other-5678", metrics={"accuracy": 0.5}))
    client = MlflowClient(tracking_uri=database)
    arms = client.search_runs(["1"], filter_string="tags.`mlflow.runName` = 'untrained'")
    accuracies = {run.data.tags["kdprobe.run"]: run.data.metrics["evaluate/accuracy"] for run in arms}
    assert accuracies == {RUN: 0.025, "other-5678": 0.5}


def test_the_experiment_has_the_name_that_mlflow_is_told(tell, stages, read, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "priming")
    tell(stages[2])
    assert set(read("priming")) == {RUN, "untrained"}


def test_without_an_address_the_database_is_in_the_working_folder(stages, monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    host_with("kdprobe_trackers").notify(stages[2])
    assert (tmp_path / "mlflow.db").is_file()


def test_mlflow_is_told_not_to_report_its_use(tell, stages, monkeypatch):
    import os

    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    tell(stages[2])
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_tracker_that_fails_is_a_note(stages, monkeypatch, capsys, tmp_path):
    (tmp_path / "text.db").write_text("no database\n" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'text.db'}")
    host_with("kdprobe_trackers").notify(stages[2])
    assert "The observer of kdprobe_trackers failed after evaluate untrained" in capsys.readouterr().err
