"""Tasks of plugins in `kdprobe eval` and in experiments: found by name, keyed by the plugin, and unambiguous."""

import json

import pytest

import kdprobe
from kdprobe import KdprobeError, UsageError
from kdprobe.experiment.evaluations.config import TaskConfig
from kdprobe.experiment.evaluations.plugged import named_task
from kdprobe.experiment.load_config import load_experiment
from kdprobe.experiment.plan import make_plan
from kdprobe.host.choice import Choice
from kdprobe.host.registry import Host
from own_tasks import questions, write_task

PLUGIN = """
from pathlib import Path
from pydantic import BaseModel
from kdprobe import TaskSpec, hookimpl

class Options(BaseModel):
    size: int = 12

@hookimpl
def kdprobe_tasks():
    here = Path(__file__).parent
    yield TaskSpec(name="theirs", summary="It", build=lambda o: here / f"tasks-{o.size}", options=Options)
    yield TaskSpec(name="arc_easy", summary="It", build=lambda _: here / "tasks-12")
    yield TaskSpec(name="gsm8k_kdprobe_cot", summary="It", build=lambda _: here / "tasks-12")
    yield TaskSpec(name="gone", summary="It", build=lambda _: here / "gone")
"""


@pytest.fixture
def plugins(tmp_path):
    """A folder of plugins: one package, whose task has 12 documents or, by an option, 20."""
    package = tmp_path / "plugins" / "theirs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PLUGIN, encoding="utf-8")
    for size in (12, 20):
        write_task(package / f"tasks-{size}", "theirs", questions(size))
    return tmp_path / "plugins"


def host_of(folder):
    return Host(choice=Choice(folder=folder))


def test_eval_finds_it_by_its_name_and_passes_its_options(tiny_model, plugins, tmp_path):
    def evaluated(task, options=None):
        result = kdprobe.evaluate(
            str(tiny_model),
            tasks=[task],
            plugins_dir=plugins,
            store=tmp_path / "store",
            options=options,
            progress=False,
        )
        return result.tasks.scores[["task", "n"]].to_numpy().tolist()

    assert evaluated("theirs") == [["theirs", 12]]
    assert evaluated({"name": "theirs", "options": {"size": 20}}) == [["theirs", 20]]
    assert evaluated("theirs", {"theirs": {"size": 20}}) == [["theirs", 20]]
    assert evaluated({"name": "theirs", "options": {"size": 12}}, {"theirs": {"size": 20}}) == [["theirs", 12]]
    with pytest.raises(UsageError, match="--option refers to 'gsm8k', which is not used here"):
        evaluated("theirs", {"gsm8k": {"split": "test"}})


def test_an_experiment_records_the_plugin_and_its_source_decides_the_keys(tiny_model, tiny_config, plugins):
    config = tiny_config(tiny_model)
    tasks = '[{name = "theirs", options = {size = 20}}]'
    text = config.read_text(encoding="utf-8").replace("[evaluation]", f"[evaluation]\ntasks = {tasks}")
    config.write_text(text, encoding="utf-8")

    def planned():
        host = host_of(plugins)
        return make_plan(load_experiment(config, host), host)

    plan = planned()
    stages = [arm.tasks["theirs"] for arm in plan.arms]
    assert {stage.units for stage in stages} == {20}
    keyed = stages[0].settings["plugin"]
    recorded = plan.plugins["tasks/theirs"]
    assert (recorded["plugin"], recorded["version"]) == ("theirs", "local")
    assert keyed["source"] == recorded["source"]
    assert keyed["options"] == {"size": 20}
    assert [arm.tasks["theirs"].key for arm in planned().arms] == [stage.key for stage in stages]
    module = plugins / "theirs" / "__init__.py"
    module.write_text(f"{PLUGIN}# changed\n", encoding="utf-8")
    assert not {arm.tasks["theirs"].key for arm in planned().arms} & {stage.key for stage in stages}


def test_a_name_has_one_meaning(plugins, tmp_path):
    host, own = host_of(plugins), tmp_path / "own"
    write_task(own, "theirs", questions(8))
    with pytest.raises(UsageError, match=r"'theirs' is both in .*own and in .*KDPROBE_BLOCK=theirs"):
        named_task(TaskConfig(name="theirs"), [own], host)
    for name, owner in (("arc_easy", "lm-eval"), ("gsm8k_kdprobe_cot", "kdprobe")):
        with pytest.raises(UsageError, match=f"{name}.* has the same name as one of {owner}'s own tasks. Set KDPROBE"):
            named_task(TaskConfig(name=name), [], host)
    (plugins / "other.py").write_text(PLUGIN, encoding="utf-8")
    with pytest.raises(UsageError, match=r"The task 'theirs' is provided by .* and .*Keep only one of them"):
        named_task(TaskConfig(name="theirs"), [], host_of(plugins))


def test_what_cannot_be_loaded_is_told_in_a_sentence(plugins, tmp_path):
    host, own = host_of(plugins), tmp_path / "own"
    with pytest.raises(UsageError, match=r"theirs.options.size: input should be a valid integer"):
        named_task(TaskConfig(name="theirs", options={"size": "x"}), [], host)
    with pytest.raises(KdprobeError, match=r"folder of the task 'gone', .* does not exist. The task comes from"):
        named_task(TaskConfig(name="gone"), [], host)
    with pytest.raises(KdprobeError, match=r"folder of the task 'theirs', .*tasks-7.* does not exist"):
        named_task(TaskConfig(name="theirs", options={"size": 7}), [], host)
    write_task(own, "mine", questions(8))
    with pytest.raises(UsageError, match="'mine' has options, but no plugin provides it"):
        named_task(TaskConfig(name="mine", options={"size": 7}), [own], host)


def test_a_missing_package_is_named(tiny_model, tmp_path, capsys):
    from kdprobe.cli import _run

    arguments = ["--task", "everyday", "--no-plugins", "--store", str(tmp_path / "store")]
    assert _run(["eval", str(tiny_model), *arguments]) == 2
    assert "pip install --upgrade kdprobe-everyday" in " ".join(capsys.readouterr().err.split())


def test_the_listing_shows_it(plugins, run_cli):
    rows = json.loads(run_cli("plugins", "--plugins-dir", plugins, "--json"))
    assert {"theirs", "gone"} <= set(next(row for row in rows if row["name"] == "theirs")["provides"]["tasks"])
