"""Stages in parts: the answers, records and prompts of one stage, joined in order."""

import json
import tomllib

import pandas as pd
import pyarrow.parquet as pq
import pytest

import kdprobe
from kdprobe.experiment.parts.divide import divided, part_seed
from kdprobe.experiment.store import Store


def test_problems_are_divided_into_runs_of_nearly_equal_length():
    assert divided(range(7), 3) == [(0, 1), (2, 3, 4), (5, 6)]
    assert divided(range(2), 5) == [(0,), (1,)]
    assert divided(range(2), 1) == [(0, 1)]
    assert len({part_seed(seed, index, 3) for seed in range(4) for index in range(3)}) == 12


@pytest.fixture(scope="module")
def config(torch, tiny_model, tiny_config):
    file = tiny_config(tiny_model, extra='analyses = ["confidence"]')
    data = tomllib.loads(file.read_text())
    # One problem at a time, so that no number depends on what else is in a batch.
    data["teacher"]["options"]["batch_size"] = 1
    data["evaluation"]["batch_size"] = 1
    return data


def in_parts(config, **more):
    transfer, evaluation = ({**config[name], "parts": 2, **more} for name in ("transfer", "evaluation"))
    return {**config, "transfer": transfer, "evaluation": evaluation}


@pytest.fixture(scope="module")
def stores(config, tmp_path_factory):
    """The same experiment in one piece and in two parts; the results with their stores."""
    made = {}
    for name, data in (("whole", config), ("parts", in_parts(config))):
        store = tmp_path_factory.mktemp(name)
        made[name] = kdprobe.run(data, store=store, progress=False), Store(store)
    return made


def test_joined_answers_are_those_of_one_stage(stores):
    from kdprobe.transfer.transfer_set import read

    found = {}
    for name, (run, store) in stores.items():
        arm = next(arm for arm in run.results.record["arms"] if arm["arm"] == "teacher")
        folder = store.folder_of("transfer", arm["transfer"])
        answers = read(folder)
        fidelity = json.loads((folder / "fidelity.json").read_text())
        found[name] = (
            [pq.read_table(folder / file).to_pylist() for file in ("responses.parquet", "prompts.parquet")],
            {key: value for key, value in fidelity.items() if key != "tokens_per_second"},
            [answers.manifest[key] for key in ("responses", "tokens", "sampling", "strategy", "vocabulary")],
        )
    assert found["parts"] == found["whole"]


def test_joined_records_are_those_of_one_stage(stores):
    tables = {}
    for name, (run, store) in stores.items():
        arm = next(arm for arm in run.results.record["arms"] if arm["arm"] == "untrained")
        tables[name] = pq.read_table(store.folder_of("evaluate", arm["evaluate"]) / "records.parquet").to_pylist()
    assert tables["parts"] == tables["whole"]
    assert len(tables["whole"]) == 4
    whole, parts = (run.scores.drop(columns="file") for run, _ in stores.values())
    pd.testing.assert_frame_equal(whole, parts)


def test_parts_are_planned_before_what_joins_them(config, tmp_path):
    rows = kdprobe.plan(in_parts(config), store=tmp_path).stage_rows
    names = [f"{row['kind']} {row['name']}" for row in rows]
    assert names.index("transfer teacher 2/2") < names.index("transfer teacher") < names.index("distill teacher")
    assert names.index("evaluate teacher 2/2") < names.index("evaluate teacher")
    # For each of two transfer sets and four evaluations, two parts; three trainings; one analysis.
    assert len(names) == len(set(names)) == len({row["key"] for row in rows}) == 2 * 3 + 4 * 3 + 3 + 1


def test_sampled_parts_have_different_seeds(config, tmp_path):
    planned = kdprobe.plan(in_parts(config, temperature=0.7), store=tmp_path).details
    transfer = [stage.settings["sampling"]["seed"] for stage in planned.stages if stage.kind == "transfer"]
    evaluate = [stage.settings["protocol"]["seed"] for stage in planned.stages if stage.kind == "evaluate"]
    assert len(set(transfer)) == 3  # two parts, and the whole's own
    assert len(set(evaluate)) == 3
    greedy = kdprobe.plan(in_parts(config), store=tmp_path).details
    assert len({stage.settings["sampling"]["seed"] for stage in greedy.stages if stage.kind == "transfer"}) == 1


def test_texts_of_another_strategy_are_read_in_parts(config, tmp_path):
    data = in_parts(config)
    data["transfer"]["texts"] = "unprimed"
    run = kdprobe.run(data, store=tmp_path, progress=False)
    from kdprobe.transfer.transfer_set import read

    arms = {arm["arm"]: arm for arm in run.results.record["arms"]}
    store = Store(tmp_path)
    texts = [
        [answer.text for answer in read(store.folder_of("transfer", arms[name]["transfer"])).responses]
        for name in ("unprimed", "teacher")
    ]
    assert texts[0] == texts[1]


def test_a_student_without_records_in_a_part_has_none(config, tmp_path, monkeypatch):
    from kdprobe.errors import NonFiniteError
    from kdprobe.experiment.stages import evaluate

    real, asked = evaluate.answers_of, []

    def answers_of(student, problems, *arguments, **keywords):
        asked.append(keywords["label"])
        if len(asked) > 2 and "teacher 2/2" in keywords["label"]:
            raise NonFiniteError("A number is NaN.")
        return real(student, problems, *arguments, **keywords)

    monkeypatch.setattr(evaluate, "answers_of", answers_of)
    data = in_parts(config)
    data["probe"] = {**data["probe"], "analyses": []}
    run = kdprobe.run(data, store=tmp_path, progress=False)
    arm = next(arm for arm in run.results.record["arms"] if arm["arm"] == "teacher")
    folder = Store(tmp_path).folder_of("evaluate", arm["evaluate"])
    assert [file.name for file in folder.iterdir() if file.name != "stage.json"] == ["absent.json"]
    assert any("overflowed during evaluation" in sentence for sentence in [*run.verdict, *map(str, run.findings)])
