"""Engines of plugins in evaluations: chosen by name, keyed, recorded, compared and recommended."""

import json

import pytest

import kdprobe
from kdprobe import UsageError
from kdprobe.comparison.answers import outputs_of
from kdprobe.experiment.load_config import load_experiment
from kdprobe.experiment.plan import make_plan
from kdprobe.experiment.store import Store
from kdprobe.experiment.tune import search
from kdprobe.host.choice import Choice
from kdprobe.host.registry import Host
from kdprobe.testing import problem_rows

PLUGIN = """
from pydantic import BaseModel
from kdprobe import EngineSpec, hookimpl

class Options(BaseModel):
    speed: int = 1

class Engine:
    log = []  # what happened, in order
    def __init__(self):
        from kdprobe.evaluation.engines.builtin import TransformersEngine
        self.inner = TransformersEngine()
        self.versions = {"theirs": "9.1"}
    def load(self, student, *, dtype, bases):
        Engine.log.append(("load", self))
        loaded = self.inner.load(student, dtype=dtype, bases=bases)
        # As if the model were in another process.
        return Remote(loaded)
    def close(self):
        Engine.log.append(("close", self))

class Remote:
    model = None
    def __init__(self, loaded):
        self.loaded = loaded
        for name in ("tokenizer", "record", "config", "end_ids", "context_length"):
            setattr(self, name, getattr(loaded, name))
        for name in ("answers_at_once", "passages_at_once", "decode"):
            setattr(self, name, getattr(loaded, name))
    def score(self, passages):
        import torch
        from kdprobe.evaluation import Scored
        found = []
        for passage, scored in zip(passages, self.loaded.score(passages)):
            ids = torch.tensor([[*passage.prompt, *passage.token_ids]])
            rows = self.loaded.model(ids).logits[0, len(passage.prompt) - 1 : -1]
            found.append(Scored(scored.log_p, rows.argmax(-1).tolist() == passage.token_ids))
        return found

@hookimpl
def kdprobe_engines():
    yield EngineSpec(name="theirs", summary="It", build=lambda _: Engine(), options=Options, fast=True)
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "theirs.py").write_text(PLUGIN, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def evaluated(torch, tiny_model, plugins, tmp_path_factory):
    """The same problems by the built-in engine and by theirs."""
    store = tmp_path_factory.mktemp("store")

    def evaluate(**more):
        return kdprobe.evaluate(
            str(tiny_model), problems=problem_rows(0, 6), max_new_tokens=8, batch_size=4, store=store, progress=False,
            plugins_dir=plugins, **more,
        )  # fmt: skip

    return store, evaluate, evaluate(), evaluate(engine="theirs", options={"theirs": {"speed": 2}})


def settings_of(store):
    found = [json.loads(file.read_text()) for file in (store / "stages" / "evaluate").glob("*/stage.json")]
    return {manifest["settings"].get("engine", {}).get("plugin"): manifest["settings"] for manifest in found}


def test_keys_contain_every_engine_but_the_built_in_one(evaluated):
    store, _, mine, theirs = evaluated
    settings = settings_of(store)
    assert set(settings) == {None, "theirs"}
    assert settings["theirs"]["engine"]["options"] == {"speed": 2}
    assert settings["theirs"]["engine"]["source"]
    assert settings["theirs"]["environment"]["libraries"]["theirs"] == "9.1"
    left_out = {"engine", "environment"}
    assert {name: value for name, value in settings["theirs"].items() if name not in left_out} == {
        name: value for name, value in settings[None].items() if name not in left_out
    }
    (first,), (second,) = mine.records.values(), theirs.records.values()
    assert first.drop(columns="conditions").equals(second.drop(columns="conditions"))


def test_it_is_recorded_and_shown(evaluated):
    _, _, mine, theirs = evaluated
    assert theirs.engine == "theirs 9.1, float32"
    assert mine.engine.startswith("transformers ")
    assert json.loads(theirs.to_json())[0]["engine"] == theirs.engine


def test_arms_of_different_engines_are_told(evaluated):
    _, _, mine, theirs = evaluated
    files = [str(next(iter(result.files.values()))) for result in (mine, theirs)]
    (found,) = [one for one in kdprobe.compare(*files).findings if one.code == "unequal-decoding"]
    assert "engine: transformers (" in found.evidence
    assert "theirs (" in found.evidence


def test_records_from_before_there_were_engines_are_those_of_transformers():
    def conditions(**decoding):
        row = {"response": "7", "gold": "7", "conditions": {"decoding": {"temperature": "0.0", **decoding}}}
        return outputs_of([row], "it").conditions["decoding"].get("engine")

    assert conditions(dtype="float32") == "transformers"
    assert conditions(dtype="float32", engine="theirs") == "theirs"
    # Another program ran the model.
    assert conditions() is None


def test_a_faster_engine_is_recommended_for_many_problems(tiny_model, plugins, tmp_path, run_cli, capsys):
    def told(count, *more):
        file = tmp_path / f"{count}.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in problem_rows(0, count)), encoding="utf-8")
        run_cli(
            "eval", tiny_model, "--problems", file, "--max-new-tokens", 1, "--plugins-dir", plugins,
            "--store", tmp_path / "store", *more,
        )  # fmt: skip
        return capsys.readouterr().err

    line = "The engine 'theirs' is installed and usually faster: --engine theirs."
    assert line not in told(8)
    assert line in told(32)
    assert line not in told(32), "everything is in the store"
    assert line not in told(33, "--engine", "theirs")


def test_wrong_use_is_told(tiny_model, plugins, tmp_path):
    def evaluate(**more):
        kdprobe.evaluate(
            str(tiny_model), problems=problem_rows(0, 1), store=tmp_path, progress=False, plugins_dir=plugins, **more
        )

    with pytest.raises(UsageError, match=r"There is no engine named 'their'. Did you mean 'theirs'"):
        evaluate(engine="their")
    with pytest.raises(UsageError, match=r"The options of theirs are invalid: speed: input should be a valid integer"):
        evaluate(engine="theirs", options={"theirs": {"speed": "x"}})
    with pytest.raises(UsageError, match="--option refers to 'theirs', which is not used here"):
        evaluate(options={"theirs": {"speed": 2}})
    with pytest.raises(UsageError, match="but lm-eval runs those of the type 'vllm'"):
        evaluate(engine="theirs", model_type="vllm")


def test_the_package_of_a_missing_engine_is_named(tiny_model, tmp_path):
    with pytest.raises(UsageError, match="kdprobe-vllm"):
        kdprobe.evaluate(str(tiny_model), engine="vllm", store=tmp_path, progress=False, no_plugins=True)


def test_an_experiment_with_it(tiny_model, tiny_config, plugins, tmp_path):
    config = tiny_config(tiny_model)

    def planned(*lines):
        text = config.read_text(encoding="utf-8").replace("[evaluation]", "\n".join(["[evaluation]", *lines]))
        file = tmp_path / "mine.toml"
        file.write_text(text, encoding="utf-8")
        host = Host(choice=Choice(folder=plugins))
        return make_plan(load_experiment(file, host), host)

    plain, named, theirs = planned(), planned('engine = "transformers"'), planned('engine = "theirs"')
    other = planned('engine = "theirs"', "engine_options = { speed = 3 }")
    assert plain.run == named.run
    assert [stage.key for stage in plain.stages] == [stage.key for stage in named.stages]
    kinds = {stage.kind for stage, mine in zip(theirs.stages, plain.stages, strict=True) if stage.key != mine.key}
    assert "evaluate" in kinds
    assert not kinds & {"transfer", "select", "distill"}
    assert {arm.evaluate.key for arm in theirs.arms}.isdisjoint({arm.evaluate.key for arm in other.arms})
    assert theirs.plugins["engines/theirs"]["plugin"] == "theirs"
    with pytest.raises(UsageError, match=r"evaluation.engine_options.speed: input should be a valid integer"):
        planned('engine = "theirs"', 'engine_options = { speed = "x" }')


def test_tuning_uses_one_engine_that_is_closed_before_every_training_and_at_the_end(
    tiny_model, tiny_config, plugins, tmp_path, monkeypatch
):
    from kdprobe.distill.builtin import LogitsDistiller

    config = tiny_config(
        tiny_model, extra="[tune]\nvalidation = 2\ntrials = 3\n[tune.space]\nlearning_rate = [1e-3, 1e-2]\n"
    )
    config.write_text(config.read_text().replace("[evaluation]", '[evaluation]\nengine = "theirs"'))
    host = Host(choice=Choice(folder=plugins))
    engine = type(host.create("engines", "theirs"))
    engine.log.clear()
    train = LogitsDistiller.train

    def logged(self, context):
        engine.log.append(("train", None))
        return train(self, context)

    monkeypatch.setattr(LogitsDistiller, "train", logged)
    search.tune(search.prepare(load_experiment(config, host), host), Store(tmp_path / "store"))
    opened = False
    for what, _ in engine.log:
        assert what != "train" or not opened
        opened = what == "load" or (opened and what != "close")
    assert not opened
    assert [what for what, _ in engine.log].count("load") >= 3
    assert len({which for what, which in engine.log if what == "load"}) == 1
