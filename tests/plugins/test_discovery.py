import sys
from types import ModuleType

import pytest

from kdprobe import Problem, PromptPair, StrategySpec, hookimpl
from kdprobe.errors import UsageError
from kdprobe.host.candidates import BUILTIN_PLUGINS, Candidate, builtin_candidates
from kdprobe.host.discovery import discover
from kdprobe.host.registry import Host

PROBLEM = Problem("p", "How many {apples}?", "2\n#### 2", "2")


def step_back(_options):
    def render(problem):
        asked = f"First say which principle applies.\n\n{problem.question}"
        return PromptPair(
            teacher=[{"role": "user", "content": asked}], student=[{"role": "user", "content": problem.question}]
        )

    return render


def spec(name="step-back"):
    return StrategySpec(name=name, summary="Principle first", build=step_back)


def module(**hooks):
    """A plugin module with these hook functions."""
    made = ModuleType("someones_plugin")
    for name, function in hooks.items():
        setattr(made, name, hookimpl(function))
    return made


def candidate(load, name="mine", source="someones-package"):
    return Candidate(name, "1.2", source, load)


def good(name="mine", source="someones-package", offers="step-back"):
    return candidate(lambda: module(kdprobe_strategies=lambda: iter([spec(offers)])), name, source)


def fails(error):
    def load():
        raise error

    return load


def yields_then_fails():
    yield spec()
    raise ValueError("halfway")


def test_a_plugin_provides_its_strategy():
    (provider,) = discover([good()])
    assert (provider.status, provider.provides) == ("ok", {"strategies": ["step-back"]})
    pair = Host([provider]).build("strategies", "step-back", None)(PROBLEM)
    assert pair.teacher[0]["content"].startswith("First say which principle applies.")
    assert pair.student == [{"role": "user", "content": PROBLEM.question}]


def test_an_instance_is_a_plugin():
    class Plugin:
        @hookimpl
        def kdprobe_strategies(self):
            yield spec()

    assert discover([candidate(Plugin)])[0].provides == {"strategies": ["step-back"]}


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (fails(ImportError("no module named torchx\nmore")), "ImportError: no module named torchx"),
        (fails(KeyError()), "KeyError: no message"),
        (lambda: sys.exit("goodbye"), "SystemExit: goodbye"),
        (lambda: module(kdprobe_strategies=yields_then_fails), "ValueError: halfway"),
        (
            lambda: module(kdprobe_strategies=lambda: [{"name": "x"}]),
            "kdprobe_strategies must yield StrategySpec records, not dict.",
        ),
        (
            lambda: module(kdprobe_teachers=lambda: [spec()]),
            "kdprobe_teachers must yield TeacherSpec records, not StrategySpec.",
        ),
        (lambda: module(kdprobe_stratagems=lambda: iter(())), "kdprobe_stratagems is not a kdprobe hook"),
        (
            lambda: module(kdprobe_strategies=lambda: None),
            "kdprobe_strategies must yield records, or return a list of them, not NoneType.",
        ),
    ],
    ids=["load", "no-message", "exit", "yield", "record", "other-record", "hook", "none"],
)
def test_a_broken_plugin_is_reported_and_the_next_one_still_loads(load, reason):
    broken, fine = discover([candidate(load, "bad"), good()])
    assert broken.status == "broken"
    assert reason in broken.reason
    assert "Traceback" in broken.trace
    assert broken.specs == ()
    assert fine.status == "ok"


def test_what_a_plugin_prints_does_not_reach_stdout(capsys):
    def load():
        print("hello from the plugin")
        return module()

    discover([candidate(load)])
    captured = capsys.readouterr()
    assert (captured.out, "hello from the plugin" in captured.err) == ("", True)


def test_the_second_plugin_of_a_name_is_shadowed():
    first, second = discover([good(source="first-package"), good(source="second-package")])
    assert (first.status, second.status) == ("ok", "shadowed")
    assert "first-package" in second.reason


def test_one_strategy_from_two_plugins_names_both_sources():
    host = Host(discover([good("a", "alpha-package"), good("b", "beta-package")]))
    with pytest.raises(UsageError, match="provided by alpha-package and beta-package"):
        host.get("strategies", "step-back")


def test_a_wrong_name_mentions_what_was_not_loaded():
    host = Host(discover([good(), candidate(fails(ImportError("gone")), "bad")]))
    with pytest.raises(UsageError, match=r"Did you mean 'step-back'\? Not loaded: bad \(ImportError: gone\)"):
        host.get("strategies", "stepback")


def test_built_ins_all_load_through_the_same_hooks():
    providers = discover(builtin_candidates())
    assert {provider.status for provider in providers} == {"ok"}
    host = Host(providers)
    assert host.names("strategies") == ["none", "teacher", "ground-truth", "confidence", "template"]
    assert host.names("teachers") == ["transformers"]
    assert host.names("distillers") == ["logits", "sequence", "fine-tune", "published"]
    assert host.names("extractors") == ["robust", "published", "strict", "flexible"]
    heads = ["heads", "divergence", "attention", "association", "confidence"]
    assert host.names("tasks") == ["basics_kdprobe"]
    outputs = ["drift", "output_divergence", "logit_lens"]
    teacher = ["priming_map", "priming_heads", "priming_gain"]
    causes = ["contrast", "geometry", "ablation", "patching", "circuits", "attribution", "shapley"]
    assert host.names("analyses") == [*heads, *outputs, *teacher, *causes]
    assert host.names("head-metrics")[:4] == ["entropy", "self_attention", "sparsity", "similarity"]
    assert host.names("problem-sources") == ["gsm8k", "jsonl", "gsm-symbolic"]


def test_every_built_in_strategy_leaves_the_student_the_bare_question():
    host = Host(discover(builtin_candidates()))
    contents = {}
    for name in host.names("strategies"):
        raw = {"text": "Think of {x}. {question}"} if name == "template" else {}
        pair = host.build("strategies", name, host.options("strategies", name, raw))(PROBLEM)
        assert pair.student == [{"role": "user", "content": PROBLEM.question}]
        assert PROBLEM.question in pair.teacher[-1]["content"]
        contents[name] = pair.teacher[-1]["content"]
    assert contents["none"] == PROBLEM.question
    assert contents["template"] == "Think of {x}. How many {apples}?"
    assert len(set(contents.values())) == len(contents)


def test_a_plugins_source_is_part_of_its_identity():
    hashes = {provider.source_hash for provider in discover(builtin_candidates())}
    assert "" not in hashes
    assert len(hashes) == len(BUILTIN_PLUGINS) == 7
