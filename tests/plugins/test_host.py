"""The host: which plugins are selected, folders of plugins, options, building, observers."""

import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from kdprobe import ExtractorSpec, FinishedStage, Problem, ProblemSourceSpec, PromptPair, StrategySpec, hookimpl
from kdprobe.cli import _run
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.host.candidates import Candidate, builtin_candidates, folder_candidates, own_version
from kdprobe.host.choice import Choice
from kdprobe.host.discovery import discover
from kdprobe.host.guard import results_kept_clean
from kdprobe.host.hook_api import HOOK_API, OLDEST_HOOK_API
from kdprobe.host.registry import Host
from kdprobe.strategies import bare

PROBLEM = Problem("p", "How many?", "#### 2", "2")
LOCAL = """
from kdprobe import PromptPair, StrategySpec, hookimpl
from kdprobe.strategies import bare

@hookimpl
def kdprobe_strategies():
    yield StrategySpec(name="NAME", summary="It", build=lambda options: lambda p: PromptPair(bare(p), bare(p)))
"""


def same(_options):
    return lambda problem: PromptPair(bare(problem), bare(problem))


def plugin(name="mine", source="someones-package", **hooks):
    module = ModuleType(f"{name}_module")
    for hook, function in hooks.items():
        setattr(module, hook, hookimpl(function))
    return Candidate(name, "1.2", source, lambda: module)


def offers(build=same, options=None, name="mine", source="someones-package", offer="it"):
    spec = StrategySpec(name=offer, summary="It", build=build, options=options)
    return plugin(name, source, kdprobe_strategies=lambda: [spec])


def host(*candidates, choice=None):
    choice = choice or Choice()
    return Host(discover(candidates, choice), choice)


def raises(error):
    def load(*_arguments, **_named):
        raise error

    return load


# Guarding


def interrupted():
    raise KeyboardInterrupt


def test_an_interrupt_stays_an_interrupt():
    with pytest.raises(KeyboardInterrupt):
        discover([Candidate("mine", "1", "x", raises(KeyboardInterrupt()))])
    with pytest.raises(KeyboardInterrupt):
        discover([plugin(kdprobe_strategies=interrupted)])


def test_a_broken_plugin_keeps_its_name_from_nobody():
    at_import = Candidate("mine", "1", "a", raises(ValueError()))
    in_the_hook = plugin(source="b", kdprobe_strategies=lambda: [None])
    first, second, fine = discover([at_import, in_the_hook, offers(source="c")])
    assert (first.status, second.status, fine.status) == ("broken", "broken", "ok")


def test_one_module_under_two_names_counts_once():
    first = offers(name="a")
    second = Candidate("b", "1", "other-package", first.load)
    providers = discover([first, second])
    assert [provider.status for provider in providers] == ["ok", "shadowed"]
    assert providers[1].reason == "It is the same module as 'a'."


def sources(dataset):
    spec = ProblemSourceSpec(name="it", summary="It", build=same, dataset=dataset)
    return plugin(kdprobe_problem_sources=lambda: [spec])


def test_the_data_set_of_a_source_is_an_id_on_the_hub():
    for dataset in (None, "openai/gsm8k"):
        assert host(sources(dataset)).get("problem-sources", "it").spec.dataset == dataset
    for dataset in ("/home/me/problems", "https://huggingface.co/datasets/openai/gsm8k", "gsm8k", 7):
        (provider,) = discover([sources(dataset)])
        assert provider.status == "broken"
        assert f"dataset must be an id on the Hub, such as openai/gsm8k, not {dataset!r}" in provider.reason


@pytest.mark.parametrize("stated", [{}, {"kdprobe_api": HOOK_API}, {"kdprobe_api": OLDEST_HOOK_API}])
def test_a_plugin_for_a_supported_hook_api_or_for_none_in_particular_is_used(stated):
    candidate = offers()
    vars(candidate.load()).update(stated)
    assert discover([candidate])[0].status == "ok"


@pytest.mark.parametrize("stated", [OLDEST_HOOK_API - 1, HOOK_API + 1])
def test_a_plugin_for_another_hook_api_is_incompatible_and_the_sentence_has_both_numbers(stated):
    candidate = offers()
    vars(candidate.load()).update(kdprobe_api=stated)
    (provider,) = discover([candidate])
    assert provider.status == "incompatible"
    assert f"hook API {stated}, but kdprobe {own_version()} has {HOOK_API}: upgrade " in provider.reason


def test_stdout_is_back_after_the_guard_even_after_a_failure(capfd):
    def fail():
        print("aside")
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"), results_kept_clean():
        fail()
    print("result")
    assert capfd.readouterr() == ("result\n", "aside\n")


def test_the_guard_does_without_a_stdout(monkeypatch):
    monkeypatch.setattr(sys, "__stdout__", None)
    with results_kept_clean():
        pass


# Choosing


def test_a_blocked_plugin_is_not_loaded_by_its_name_or_by_its_package():
    never = raises(AssertionError("loaded"))
    choice = Choice(blocked=frozenset({"a", "package-b"}))
    providers = discover([Candidate("a", "1", "x", never), Candidate("b", "1", "package-b", never), offers()], choice)
    assert [provider.status for provider in providers] == ["blocked", "blocked", "ok"]


def test_a_blocked_plugin_takes_its_name_from_nobody():
    providers = discover([offers(source="first"), offers(source="second")], Choice(blocked=frozenset({"first"})))
    assert [provider.status for provider in providers] == ["blocked", "ok"]


def test_no_plugins_leaves_the_built_ins():
    providers = discover([*builtin_candidates(), offers()], Choice(none=True))
    assert {provider.status for provider in providers[:-1]} == {"ok"}
    assert (providers[-1].status, providers[-1].reason) == ("blocked", "Excluded by --no-plugins.")


def test_strictness_refuses_what_cannot_be_used_and_allows_what_is_blocked():
    strict = Choice(strict=True, blocked=frozenset({"mine"}))
    host(offers(), choice=strict)
    with pytest.raises(KdprobeError, match="bad is broken: ValueError: why"):
        host(offers(), Candidate("bad", "1", "x", raises(ValueError("why"))), choice=strict)


def test_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("KDPROBE_BLOCK", " one, two\tthree ,")
    monkeypatch.setenv("KDPROBE_STRICT_PLUGINS", "1")
    assert Choice.of_environment() == Choice(blocked=frozenset({"one", "two", "three"}), strict=True)
    monkeypatch.setenv("KDPROBE_STRICT_PLUGINS", "0")
    assert not Choice.of_environment().strict


# Folders


@pytest.fixture
def folder(tmp_path):
    """A folder of plugins: a module, a package, a broken module, and files that are not plugins."""
    place = tmp_path / "mine"
    (place / "packed").mkdir(parents=True)
    (place / "data").mkdir()
    (place / "single.py").write_text(LOCAL.replace("NAME", "from-a-file"))
    (place / "packed" / "__init__.py").write_text("from .inner import kdprobe_strategies\n")
    (place / "packed" / "inner.py").write_text(LOCAL.replace("NAME", "from-a-package"))
    (place / "broken.py").write_text("raise ValueError('no')\n")
    (place / "_helper.py").write_text("raise AssertionError('imported')\n")
    (place / "notes.txt").write_text("none\n")
    return place


def test_a_folder_holds_modules_and_packages(folder):
    found = {provider.name: provider for provider in discover(folder_candidates(folder))}
    assert sorted(found) == ["broken", "packed", "single"]
    assert found["single"].provides == {"strategies": ["from-a-file"]}
    assert found["packed"].provides == {"strategies": ["from-a-package"]}
    assert (found["broken"].status, found["broken"].reason) == ("broken", "ValueError: no")
    assert found["single"].source == str(folder / "single.py")
    assert (found["single"].version, str(folder) in sys.path) == ("local", False)


def test_a_plugins_source_hash_is_that_of_all_its_files(folder):
    def hashes():
        return {provider.name: provider.source_hash for provider in discover(folder_candidates(folder))}

    before = hashes()
    (folder / "packed" / "prompt.txt").write_text("Think.")
    after = hashes()
    assert before["single"] == after["single"] != ""
    assert before["packed"] != after["packed"]
    (folder / "single.py").write_text((folder / "single.py").read_text() + "# changed\n")
    assert hashes()["single"] != after["single"]


def test_a_folder_is_loaded_once(folder):
    there = Host([], Choice())
    there.load_folder(folder)
    there.load_folder(folder / ".." / "mine")
    assert [provider.name for provider in there.providers] == ["broken", "packed", "single"]


def test_a_folder_cannot_take_the_name_of_an_installed_plugin(folder):
    there = host(offers(name="single"))
    there.load_folder(folder)
    assert there.providers[-1].status == "shadowed"
    assert "someones-package also provides a plugin named 'single'" in there.providers[-1].reason


def test_a_folder_that_is_not_there():
    with pytest.raises(UsageError, match=r"The plugin folder .*nowhere does not exist"):
        Host([], Choice()).load_folder(Path("nowhere"))


def test_the_command_line_takes_a_folder_and_never_the_current_one(folder, monkeypatch, run_cli):
    monkeypatch.chdir(folder)
    assert "from-a-file" not in run_cli("plugins", "--json")
    assert "from-a-file" in run_cli("plugins", "--json", "--plugins-dir", folder)
    monkeypatch.setenv("KDPROBE_PLUGINS_DIR", str(folder))
    assert "from-a-package" in run_cli("plugins", "--json")
    assert "from-a-package" not in run_cli("plugins", "--json", "--no-plugins")


# A plugin that fails while it works

FAULTY = """
import json

from kdprobe import AnalysisSpec, hookimpl


class Faulty:
    needs = frozenset({"patterns"})

    def run(self, context):
        FAULT


@hookimpl
def kdprobe_analyses():
    yield AnalysisSpec(name="faulty", summary="It", build=lambda options: Faulty())
"""


@pytest.fixture
def faulty(tmp_path):
    """Arguments of a probe with a plugin that fails in one way."""

    def command(fault):
        file = tmp_path / "plugins" / "faulty.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(FAULTY.replace("FAULT", fault), encoding="utf-8")
        np.savez(tmp_path / "a.npz", patterns=np.broadcast_to(np.eye(3, dtype="float32"), (2, 2, 3, 3)))
        chosen = ("--analysis", "faulty", "--plugins-dir", str(file.parent))
        return ["probe", "--patterns", str(tmp_path / "a.npz"), *chosen, "--out", str(tmp_path / "out"), "--json"]

    return command


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("[][0]", "IndexError: list index out of range"),
        ("json.loads('no')", "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ("open('nowhere')", "No such file or directory: nowhere"),
    ],
)
def test_a_plugin_that_fails_at_work_is_told_in_a_sentence(fault, said, faulty, capfd):
    assert _run(faulty(fault)) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert f"failed: {said}. kdprobe --debug shows where.\n" in err
    assert "The plugin faulty (" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("probe", "Interrupted; nothing was saved."),
        ("score", "Interrupted; nothing was saved."),
        ("run", "Interrupted; finished work is saved; rerun the same command to resume."),
        ("eval", "Interrupted; finished work is saved; rerun the same command to resume."),
        ("tune", "Interrupted; finished work is saved; rerun the same command to resume."),
        ("store prune", "Interrupted; finished work is saved; rerun the same command to resume."),
        ("store export", "Interrupted; nothing was saved."),
    ],
)
def test_ctrl_c_says_what_is_true_of_the_command(command, said, monkeypatch, capfd):
    import importlib

    words = command.split()
    called = importlib.import_module(f"kdprobe.cli.{words[0]}").command
    for word in words[1:]:
        called = called.commands[word]
    monkeypatch.setattr(called, "callback", raises(KeyboardInterrupt()))
    arguments = {"score": ["a.csv"], "eval": ["model"], "tune": [__file__], "store export": ["run", "a.tar"]}
    assert _run([*words, *arguments.get(command, [])]) == 130
    assert capfd.readouterr().err.strip() == f"kdprobe: {said}"


def test_with_debug_the_plugin_s_traceback_is_shown(faulty, capfd):
    assert _run(["--debug", *faulty("[][0]")]) == 1
    err = capfd.readouterr().err
    assert err.startswith("Traceback (most recent call last):\n")
    assert "\nIndexError: list index out of range\n" in err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("timed out"), "TimeoutError: timed out. Check the network."),
        (
            OSError(28, "No space left on device", "a.npy"),
            "No space left on device: a.npy. Free some disk space",
        ),
        (OSError(5, "Input/output error", "a.npy"), "Input/output error: a.npy. Check the disk"),
        (
            RuntimeError("I/O error: No space left on device (os error 28)"),
            "(os error 28). Free some disk space",
        ),
        (MemoryError("Unable to allocate 9 TiB"), "MemoryError: Unable to allocate 9 TiB. Use a smaller batch"),
        (RuntimeError("CUDA out of memory."), "RuntimeError: CUDA out of memory. Use a smaller batch"),
    ],
)
def test_a_fault_of_the_world_is_told(error, said, faulty, monkeypatch, capfd):
    from kdprobe.probing import analysis

    monkeypatch.setattr(analysis, "run_analysis", raises(error))
    assert _run(faulty("pass")) == 1
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    "error", [RuntimeError("ours"), ZeroDivisionError("division by zero"), RecursionError("too deep"), SystemExit(3)]
)
def test_a_fault_that_nobody_foresaw_is_told_and_its_traceback_kept(error, faulty, monkeypatch, tmp_path, capfd):
    from kdprobe.probing import analysis

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(analysis, "run_analysis", raises(error))
    assert _run(faulty("pass")) == 1
    [log] = (tmp_path / "state").rglob("*.log")
    err = capfd.readouterr().err
    assert "The plugin" not in err
    assert f"kdprobe or one of its libraries failed: {type(error).__name__}: {error}" in err
    assert f"The traceback is in {log}; please report it." in err
    assert "Traceback" not in err
    assert log.read_text(encoding="utf-8").count("Traceback") == 1


def test_where_no_log_can_be_written_the_fault_is_told_all_the_same(faulty, monkeypatch, tmp_path, capfd):
    from kdprobe.probing import analysis

    (tmp_path / "state").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(analysis, "run_analysis", raises(ZeroDivisionError("division by zero")))
    assert _run(faulty("pass")) == 1
    assert "division by zero. kdprobe --debug shows the traceback" in capfd.readouterr().err


# Options


class Options(BaseModel):
    times: int = Field(default=1, ge=1, description="How often.")
    word: str = "so"

    @field_validator("word")
    @classmethod
    def _explodes(cls, word):
        return {"so": "so", "well": "well"}[word]


def test_unknown_options_are_mistakes_though_the_model_says_nothing_of_them():
    with pytest.raises(ValidationError) as caught:
        host(offers(options=Options)).options("strategies", "it", {"tmes": 2, "times": 0})
    assert {error["type"] for error in caught.value.errors()} == {"extra_forbidden", "greater_than_equal"}


def test_a_model_that_allows_more_is_left_to_it():
    class Open(BaseModel, extra="allow"):
        pass

    assert host(offers(options=Open)).options("strategies", "it", {"any": 1}).any == 1


def test_a_validator_that_fails_is_the_plugins_fault():
    with pytest.raises(
        UsageError, match=r"failed to validate its options: KeyError: 'x'. This is a bug in someones-package"
    ):
        host(offers(options=Options)).options("strategies", "it", {"word": "x"})


def test_all_mistakes_in_options_are_told_with_the_others(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    source = LOCAL.replace("NAME", "it").replace("summary=", "options=Options, summary=")
    options = "from pydantic import BaseModel\nclass Options(BaseModel):\n    times: int\n    word: str = 'so'\n"
    (tmp_path / "mine" / "local.py").write_text(options + source)
    config = tmp_path / "mine.toml"
    config.write_text(
        """
        plugins = "mine"
        strategies = [{ name = "it", options = { times = "many", wrd = "x" } }, "non"]
        [problems]
        source = "jsonl"
        options = { transfer = "a" }
        """
    )
    assert _run(["plan", str(config)]) == 2
    told = capsys.readouterr().err
    for mistake in (
        "name: missing",
        "problems.transfer: missing",
        "problems.options.test: missing",
        "strategies.it.options.times: input should be a valid integer",
        "strategies.it.options.wrd: unknown key; did you mean 'strategies.it.options.word'?",
        "strategies.non.name: There is no strategy named 'non'. Did you mean 'none'?",
    ):
        assert mistake in told


# Building


def test_a_plugin_that_fails_at_building_is_named(capfd):
    def build(_options):
        print("aside")
        raise KeyError("weights")

    with pytest.raises(
        KdprobeError, match=r"The strategy 'it' could not be built: KeyError: 'weights'.*someones-package"
    ):
        host(offers(build)).create("strategies", "it")
    assert capfd.readouterr().out == ""


def test_a_plugins_message_of_several_lines_becomes_one_sentence():
    with pytest.raises(KdprobeError) as told:
        host(offers(raises(ValueError("boom\nsecond line.")))).create("strategies", "it")
    assert told.value.message == "The strategy 'it' could not be built: ValueError: boom second line."


def test_a_plugin_that_exits_at_building_does_not_end_the_program():
    with pytest.raises(KdprobeError, match="could not be built: SystemExit: 3"):
        host(offers(raises(SystemExit(3)))).create("strategies", "it")


def test_a_refusal_in_the_plugins_own_words_is_kept():
    with pytest.raises(UsageError, match="Set a key"):
        host(offers(raises(UsageError("Set a key")))).create("strategies", "it")


def test_all_leaves_out_what_cannot_be_built_or_is_contested(capsys):
    def extractor(name, build, source):
        spec = ExtractorSpec(name=name, summary="It", build=build)
        return plugin(source, source, kdprobe_extractors=lambda: [spec])

    there = host(
        extractor("good", lambda _options: "good", "a"),
        extractor("bad", raises(ValueError("no")), "b"),
        extractor("contested", lambda _options: "first", "c"),
        extractor("contested", lambda _options: "second", "d"),
        extractor("contested", lambda _options: "third", "e"),
    )
    assert there.all("extractors") == {"good": "good"}
    assert there.unique_names("extractors") == ["good", "bad"]
    told = capsys.readouterr().err
    assert "Skipped: The extractor 'bad' could not be built: ValueError: no" in told
    assert "Skipped: The extractor 'contested' is provided by c, d and e" in told
    with pytest.raises(UsageError, match=r"Keep only one of them, or set KDPROBE_BLOCK=d,e\."):
        there.get("extractors", "contested")


# Observers


def stage(name="none"):
    known = {"run": "r", "kind": "evaluate", "key": "k", "folder": None, "seconds": 1.0, "made": True, "metrics": {}}
    return FinishedStage(name=name, **known)


def test_every_observer_is_told_of_a_stage():
    told = []
    there = host(plugin("a", kdprobe_stage_finished=lambda stage: told.append(("a", stage.name))), offers(name="b"))
    there.notify(stage("first"))
    there.notify(stage("second"))
    assert told == [("a", "first"), ("a", "second")]


@pytest.mark.parametrize("error", [ValueError("server gone"), SystemExit("bye")])
def test_an_observer_that_fails_is_a_note_and_the_next_one_is_told(error, capfd):
    told = []

    def fails(stage):
        print("aside")
        raise error

    there = host(
        plugin("a", "bad-tracker", kdprobe_stage_finished=fails),
        plugin("b", kdprobe_stage_finished=lambda stage: told.append(stage.name)),
    )
    there.notify(stage())
    assert len(told) == 1
    out, err = capfd.readouterr()
    assert f"The observer of bad-tracker failed after evaluate none: {type(error).__name__}: {error}" in err
    assert out == ""


def test_an_interrupt_while_observing_stays_one():
    with pytest.raises(KeyboardInterrupt):
        host(plugin(kdprobe_stage_finished=lambda stage: interrupted())).notify(stage())


def test_an_observer_takes_the_stage_by_its_name():
    (provider,) = discover([plugin(kdprobe_stage_finished=lambda record: None)])
    assert (
        provider.reason
        == "kdprobe_stage_finished(record) has the wrong signature: it must be kdprobe_stage_finished(stage)."
    )


def test_the_guard_flushes_what_was_written_before(capfd):
    sys.stdout.write("before ")
    with results_kept_clean():
        sys.stdout.write("inside ")
    sys.stdout.write("after")
    assert capfd.readouterr() == ("before after", "inside ")


def test_a_redirected_stdout_stays_redirected():
    kept = sys.stdout
    sys.stdout = io.StringIO()
    try:
        with results_kept_clean():
            print("aside")
        print("result")
        assert sys.stdout.getvalue() == "result\n"
    finally:
        sys.stdout = kept
