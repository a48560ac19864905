"""Plans with a memory are the same as without, whatever has changed since, and do not import torch."""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tomllib

import pytest

from kdprobe.errors import KdprobeError
from kdprobe.files import write_sealed
from kdprobe.models.outline import memory as memory_module
from kdprobe.models.outline.fork import cores
from kdprobe.models.outline.memory import Memory

DATED = "{% if brief is defined %}Brief. {% endif %}Today: {{ strftime_now('%d %b %Y') }}\n"
NAMED = {"distill": {"name": "logits", "options": {"lora": {"target_modules": ["layers.1.self_attn.q_proj"]}}}}
STRATEGIES = ["none", "teacher", {"name": "template", "options": {"text": "Ünprimed: {question}"}}]


@pytest.fixture
def model(tiny_model, tmp_path):
    """A copy of the tiny model whose template asks for the date."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    template = folder / "chat_template.jinja"
    template.write_text(DATED + template.read_text())
    return folder


@pytest.fixture
def plan(model, tiny_config, tmp_path):
    """Plans an experiment, with or without a memory; returns everything it says, or why it is rejected."""

    def make(memory=None, **changes):
        from kdprobe.experiment.load_config import check
        from kdprobe.experiment.plan import make_plan
        from kdprobe.host.registry import Host

        data = tomllib.loads(tiny_config(model).read_text())
        data["strategies"] = STRATEGIES
        data["seeds"] = [0, 1]
        data["probe"]["analyses"] = ["heads", "confidence"]
        for name, change in changes.items():
            data[name] = {**data.get(name, {}), **change} if isinstance(change, dict) else change
        host = Host()
        try:
            planned = make_plan(check(data, host, "mine.toml"), host, Memory(memory))
        except KdprobeError as error:
            return str(error)
        stages = {f"{stage.kind} {stage.name}": [stage.key, stage.settings] for stage in planned.stages}
        return {"run": planned.run, "findings": list(planned.findings), "stages": stages}

    return make


def poison(folder):
    """Changes the content of every entry, under the same key."""
    others = {
        "prompts": lambda _: "poison",
        "too long": lambda _: {"problem": 10**6},
        "size": lambda _: 7,
        "vocabulary": lambda known: {**known, "end": 10**6},
        "tokens without rows": lambda _: ["e"],
        "configuration": lambda known: {**known, "context": 3},
        "modules": lambda known: {**known, "attention": ["poison_proj"]},
        "tokenizers compared": lambda _: {"difference": "poison", "foreign": []},
        "arguments used": lambda known: known,
        "detectable differences": lambda known: {**known, "needed": 7},
    }
    for file in folder.iterdir():
        data = json.loads(file.read_bytes())
        known = {key: data[key] for key in ("key", "what", "result")}
        write_sealed(file, {**known, "result": others[data["what"]](data["result"])})


def test_a_second_plan_is_the_first_one(plan, tmp_path):
    fresh = plan()
    assert plan(tmp_path / "memory") == fresh
    assert plan(tmp_path / "memory") == fresh
    assert {"prompts", "modules", "vocabulary"} <= {
        json.loads(file.read_bytes())["what"] for file in (tmp_path / "memory").iterdir()
    }


def test_damaged_entries_change_nothing(plan, tmp_path):
    fresh = plan(tmp_path / "memory")
    for file in (tmp_path / "memory").iterdir():
        file.write_bytes(file.read_bytes()[:-20])
    assert plan(tmp_path / "memory") == fresh
    assert all(json.loads(file.read_bytes()) for file in (tmp_path / "memory").iterdir())


@pytest.mark.parametrize("what", ["prompts", "modules", "configuration"])
def test_what_is_remembered_is_used(plan, tmp_path, what):
    """Otherwise the tests of versions could not fail."""
    fresh = plan(tmp_path / "memory")
    poison(tmp_path / "memory")
    for file in (tmp_path / "memory").iterdir():
        if json.loads(file.read_bytes())["what"] != what:
            file.unlink()
    assert plan(tmp_path / "memory") != fresh


def rewritten(name, old, new):
    def change(folder):
        file = folder / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change


CHANGES = {
    "the template": (rewritten("chat_template.jinja", "Today", "Now"), {}),
    "the tokenizer": (rewritten("tokenizer.json", '"<pad>"', '"<fill>"'), {}),
    "the tokenizer's settings": (rewritten("tokenizer_config.json", "<|im_end|>", "<pad>"), {}),
    "the configuration": (rewritten("config.json", 'embeddings": 2048', 'embeddings": 9'), {}),
    "the architecture": (rewritten("config.json", '"num_hidden_layers": 2', '"num_hidden_layers": 3'), NAMED),
    "the date": (None, {"conversation": {"date": dt.date(2026, 11, 25)}}),
    "the system message": (None, {"conversation": {"system": "Be brief."}}),
    "the template's arguments": (None, {"conversation": {"template_arguments": {"brief": True}}}),
    "an argument that no template reads": (None, {"conversation": {"template_arguments": {"long": True}}}),
    "the strategies": (None, {"strategies": ["none", "confidence", "ground-truth"]}),
    "a strategy's options": (
        None,
        {"strategies": ["none", "teacher", {"name": "template", "options": {"text": "Unprimed: {question}"}}]},
    ),
    "the number of problems": (None, {"problems": {"transfer": 3}}),
    "the token budget": (None, {"evaluation": {"max_new_tokens": 2040}}),
    "the teacher's budget": (None, {"transfer": {"max_new_tokens": 2040}}),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_after_a_change_a_plan_is_the_one_without_memory(plan, model, tmp_path, changed):
    before = plan(tmp_path / "memory")
    files, config = CHANGES[changed]
    if files:
        files(model)
    after = plan(tmp_path / "memory", **config)
    assert after == plan(**config)
    assert after != before


def test_a_template_in_the_folder_of_further_templates_is_one_of_the_models_files(plan, model, tmp_path):
    (model / "additional_chat_templates").mkdir()
    moved = model / "additional_chat_templates" / "default.jinja"
    (model / "chat_template.jinja").rename(moved)
    before = plan(tmp_path / "memory")
    moved.write_text("Now: " + moved.read_text())
    after = plan(tmp_path / "memory")
    assert after == plan() != before


@pytest.mark.parametrize("changed", ["the format", *memory_module.versions()])
def test_nothing_is_recalled_under_another_format_or_another_version(plan, tmp_path, monkeypatch, changed):
    fresh = plan(tmp_path / "memory")
    poison(tmp_path / "memory")
    if changed == "the format":
        monkeypatch.setattr(memory_module, "FORMAT", memory_module.FORMAT + 1)
    else:
        other = {**memory_module.versions(), changed: "0"}
        monkeypatch.setattr(memory_module, "versions", lambda: other)
    assert plan(tmp_path / "memory") == fresh


SCRIPT = """
import json, os, sys
exec(sys.argv[3])
import kdprobe
try:
    result = kdprobe.plan(sys.argv[1], store=sys.argv[2], progress=False)
    said = json.loads(result.to_json())
except kdprobe.KdprobeError as error:
    said = {"refused": str(error)}
loaded = sorted(name for name in ("torch", "transformers", "peft", "scipy", "lm_eval") if name in sys.modules)
print(json.dumps({"loaded": loaded, **said}))
"""


@pytest.fixture
def planned(tmp_path):
    """Plans in a process of its own; returns what it says, and which slow libraries it has imported."""

    def plan(config, store, cache="cache", before=""):
        command = [sys.executable, "-c", SCRIPT, config, tmp_path / store, before]
        environment = {**os.environ, "KDPROBE_CACHE": str(tmp_path / cache)}
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
        return found, found.pop("loaded")

    return plan


def test_plans_import_neither_torch_nor_transformers(planned, model, tiny_config):
    config, primed = tiny_config(model), tiny_config(model, strategies='["none", "confidence"]')
    first, loaded = planned(config, "store")
    # What needs torch is found out in another process.
    assert loaded == [] or cores() == 1
    assert planned(config, "store") == (first, [])
    # Another strategy is rendered, in a process that does without torch.
    other, loaded = planned(primed, "store")
    assert loaded == []
    assert other["run"] != first["run"]
    # Nothing is remembered in another store, but the model's modules are known. Here, everything is computed anew.
    assert planned(primed, "another store") == (other, [])
    assert planned(primed, "a third store", cache="another cache")[0] == other


def test_without_a_cache_folder_a_plan_is_the_same(planned, model, tiny_config, tmp_path):
    config = tiny_config(model)
    (tmp_path / "a file").write_text("")
    assert planned(config, "store", cache="a file")[0] == planned(config, "another store")[0]


FAULTS = {
    "no process is started": "import torch",
    "there is one core": "from kdprobe.models.outline import fork; fork.cores = lambda: 1",
    "they are killed": """
from kdprobe.models.outline import helpers
helpers._hide_torch = helpers._import_models = lambda: os.kill(os.getpid(), 9)
""",
    "they fail": """
from kdprobe.models.outline import helpers
helpers._hide_torch = helpers._import_models = lambda: sys.modules.update(transformers=None, torch=None)
""",
    "there is no room for them": """
import multiprocessing.context
def refuse(process):
    raise OSError("no room")
multiprocessing.context.ForkProcess.start = refuse
""",
}


def of_an_unknown_type(folder):
    rewritten("config.json", '"float32"', '"float33"')(folder)


def of_no_language_model(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "vit", "vocab_size": 512}))


def test_whatever_goes_wrong_with_helping_processes_a_plan_is_the_same(planned, model, tiny_config):
    config = tiny_config(model)
    helped, loaded = planned(config, "store")
    assert loaded == [] or cores() == 1
    for number, fault in enumerate(FAULTS.values()):
        alone, loaded = planned(config, f"store {number}", cache=f"cache {number}", before=fault)
        assert alone == helped
        assert {"torch", "transformers"} <= set(loaded)


@pytest.mark.parametrize("damage", [of_an_unknown_type, of_no_language_model])
def test_helping_processes_do_not_change_why_a_model_is_refused(planned, model, tiny_config, damage):
    damage(model)
    config = tiny_config(model)
    refused = planned(config, "store")[0]["refused"]
    assert "config" in refused or "not a causal language model" in refused
    assert planned(config, "another store", cache="another cache", before="import torch")[0] == {"refused": refused}
