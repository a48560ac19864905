"""An experiment that uses a folder of plugins wherever it can: what is recorded, and what determines stage keys."""

import json

import pytest

from kdprobe.api.results.students import Students
from kdprobe.experiment.config import to_data
from kdprobe.experiment.load_config import load_experiment
from kdprobe.experiment.plan import make_plan
from kdprobe.experiment.results import comparison_of, load_results
from kdprobe.experiment.run import run
from kdprobe.experiment.store import Store
from kdprobe.host.choice import Choice
from kdprobe.host.registry import Host

STRATEGY = """
from kdprobe import PromptPair, StrategySpec, hookimpl
from kdprobe.strategies import bare

def render(problem):
    told = [{"role": "user", "content": f"Think. {problem.question}"}]
    peek = [{"role": "user", "content": f"{problem.question} It is {problem.value}."}]
    return PromptPair(teacher=told, student=peek)

@hookimpl
def kdprobe_strategies():
    yield StrategySpec(name="peeking", summary="It", build=lambda options: render, student_sees_gold=True)
"""
SOURCE = """
from kdprobe import ProblemSourceSpec, hookimpl
from kdprobe.testing import some_problems

@hookimpl
def kdprobe_problem_sources():
    yield ProblemSourceSpec(
        name="apples",
        summary="It",
        build=lambda options: lambda split: some_problems(6, 100 * len(split)),
        dataset="org/apples",
    )
"""
EXTRACTOR = """
from kdprobe import Extraction, ExtractorSpec, hookimpl

class Nothing:
    def extract(self, text):
        return Extraction(None, "none")
    def is_right(self, extraction, gold):
        return False

@hookimpl
def kdprobe_extractors():
    yield ExtractorSpec(name="nothing", summary="It", build=lambda options: Nothing())
"""
ANALYSIS = """
import pandas as pd
from kdprobe import AnalysisSpec, hookimpl
from kdprobe.probing import AnalysisResult

class Names:
    needs = frozenset({"students"})
    def run(self, context):
        return AnalysisResult({"names": pd.DataFrame({"student": [s.name for s in context.students]})})

@hookimpl
def kdprobe_analyses():
    yield AnalysisSpec(name="names", summary="It", build=lambda options: Names())
"""
OBSERVER = """
import json
from pathlib import Path
from kdprobe import hookimpl

@hookimpl
def kdprobe_stage_finished(stage):
    told = {"run": stage.run, "kind": stage.kind, "name": stage.name, "key": stage.key, "made": stage.made,
            "seconds": stage.seconds, "there": (stage.folder / "stage.json").is_file(), **stage.metrics}
    with (Path(__file__).parent / "told.jsonl").open("a") as file:
        print(json.dumps(told), file=file)
    raise RuntimeError("the tracker is gone")
"""


@pytest.fixture(scope="module")
def config(torch, tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugged")
    (folder / "plugins").mkdir()
    sources = {"peeking": STRATEGY, "apples": SOURCE, "nothing": EXTRACTOR, "names": ANALYSIS, "observer": OBSERVER}
    for name, source in sources.items():
        (folder / "plugins" / f"{name}.py").write_text(source, encoding="utf-8")
    file = folder / "tiny.toml"
    file.write_text(
        f"""
        name = "plugged"
        plugins = "plugins"
        strategies = ["peeking"]
        [problems]
        source = "apples"
        transfer = 2
        test = 2
        [student]
        model = "{tiny_model}"
        [teacher.options]
        model = "{tiny_model}"
        [transfer]
        max_new_tokens = 4
        [distill.options]
        batch_size = 2
        learning_rate = 1e-2
        [controls]
        fine_tuned = false
        [evaluation]
        max_new_tokens = 4
        [probe]
        analyses = ["names"]
        """,
        encoding="utf-8",
    )
    return file


def planned(config, choice=None):
    host = Host(choice=choice or Choice())
    experiment = load_experiment(config, host)
    return make_plan(experiment, host), host


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """Run twice: what observers received each time, and the results."""
    store = Store(tmp_path_factory.mktemp("store"))
    for _ in range(2):
        plan, host = planned(config)
        name = run(plan, store, host.notify)
    results = load_results(store, name)
    told = [json.loads(line) for line in (config.parent / "plugins" / "told.jsonl").read_text().splitlines()]
    return plan, results, comparison_of(results, host.all("extractors")), told


def test_the_record_names_every_plugin_by_version_and_source(finished):
    used = finished[1].record["plugins"]
    local = {"strategies/peeking", "problem-sources/apples", "analyses/names", "extractors/nothing"}
    assert used.keys() >= local | {"teachers/transformers", "distillers/logits", "extractors/robust"}
    for what in local:
        assert (used[what]["plugin"], used[what]["version"]) == (what.rpartition("/")[2], "local")
        assert len(used[what]["source"]) == 16


def test_the_place_of_the_folder_decides_nothing(config):
    plan, _ = planned(config)
    assert plan.experiment.plugins == "plugins"
    assert "plugins" not in to_data(plan.experiment)


def test_a_strategy_that_shows_the_answer_to_students_is_in_every_output(finished):
    _, results, compared, _ = finished
    assert "'peeking' shows students the gold answer" in results.record["cautions"][0]
    assert compared.verdict[0] == results.record["cautions"][0]
    assert "student-prompt" in {finding.code for finding in compared.findings}


def test_the_data_set_that_a_source_declares_is_in_the_cards_of_its_students(finished, tmp_path):
    from huggingface_hub import ModelCard

    results = finished[1]
    student = Students(results, Store(results.folder.parents[1]))["peeking"]
    for folder in (student.adapter, student.export_adapter(tmp_path / "adapter", progress=False)):
        assert ModelCard.load(folder / "README.md").data.datasets == ["org/apples"]
    (score,) = ModelCard.load(tmp_path / "adapter" / "README.md").data.eval_results
    assert (score.dataset_name, score.dataset_type) == ("apples", "org/apples")


def test_observers_hear_of_every_stage_once_a_run_and_their_faults_change_nothing(finished):
    plan, results, _, told = finished
    keys = [stage.key for stage in plan.stages]
    assert [row["key"] for row in told] == keys * 2
    assert [row["made"] for row in told] == [True] * len(keys) + [False] * len(keys)
    assert {row["run"] for row in told} == {results.run}
    assert all(row["there"] and row["seconds"] > 0 for row in told)
    by = {row["kind"]: row for row in told}
    assert {"accuracy", "mean_tokens"} <= by["transfer"].keys()
    assert by["distill"]["loss"] > 0 < by["distill"]["adapter_norm"]
    assert 0 <= by["evaluate"]["accuracy"] <= 1 > by["evaluate"]["log_p_gold_value"]
    assert by["evaluate"]["problems"] == 2


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("peeking", {"transfer", "distill", "evaluate peeking", "analyse"}),
        ("apples", {"transfer", "distill", "evaluate untrained", "evaluate peeking", "analyse"}),
        ("names", {"analyse"}),
        ("nothing", set()),
        ("observer", set()),
    ],
)
def test_the_source_of_a_plugin_decides_the_keys_of_the_stages_that_use_it(config, name, changed):
    def keys():
        stages = planned(config)[0].stages
        return {s.key: f"{s.kind} {s.name}" if s.kind == "evaluate" else s.kind for s in stages}

    file = config.parent / "plugins" / f"{name}.py"
    before, source = keys(), file.read_text(encoding="utf-8")
    try:
        file.write_text(f"{source}# the same, but for this line\n", encoding="utf-8")
        after = keys()
    finally:
        file.write_text(source, encoding="utf-8")
    assert {what for key, what in after.items() if key not in before} == changed


def test_no_plugins_leaves_out_the_configs_folder_too_and_says_so(config):
    from kdprobe.errors import ConfigError

    with pytest.raises(ConfigError) as caught:
        planned(config, Choice(none=True))
    assert len(caught.value.mistakes) == 3
    assert "There is no strategy named 'peeking'. It should come from" in " ".join(caught.value.mistakes)
    assert "which is blocked: Excluded by --no-plugins." in " ".join(caught.value.mistakes)
