"""Plain functions as strategies and analyses: what their keys cover, and which are rejected for lack of a key."""

import functools
import linecache
import sys
from importlib import import_module

import pytest

import kdprobe
from kdprobe.errors import UsageError
from kdprobe.host.functions import function_digest


def cell(source, name="mine", **names):
    """A function as defined in a notebook cell."""
    COUNTER.append(source)
    file = f"<cell-{len(COUNTER)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space = {"__name__": "__main__", **names}
    exec(compile(source, file, "exec"), space)
    return space[name]


COUNTER = []
PLAIN = "def mine(problem):\n    return f'Think. {problem.question}'\n"


def digest(function):
    return function_digest(function, "mine")


def test_the_same_source_is_the_same_key_and_other_source_is_another():
    assert digest(cell(PLAIN)) == digest(cell(PLAIN))
    assert digest(cell(PLAIN)) != digest(cell(PLAIN.replace("Think", "Sing")))


def test_what_a_function_uses_is_part_of_its_key():
    source = "def mine(problem):\n    return [HINT, helper(problem)]\ndef helper(problem):\n    return SECRET\n"
    first = digest(cell(source, HINT="a", SECRET=["b", {"c": 1.5}]))
    assert first == digest(cell(source, HINT="a", SECRET=["b", {"c": 1.5}]))
    assert first != digest(cell(source, HINT="x", SECRET=["b", {"c": 1.5}]))
    assert first != digest(cell(source, HINT="a", SECRET=["b", {"c": 1.6}]))
    assert first != digest(
        cell(source.replace("return SECRET", "return SECRET[0]"), HINT="a", SECRET=["b", {"c": 1.5}])
    )
    # What has the name of an attribute is not used.
    assert digest(cell(PLAIN, question=object())) == digest(cell(PLAIN))


def test_closures_and_defaults_are_part_of_the_key():
    source = "def make(text):\n    def mine(problem, times={times}):\n        return text * times\n    return mine\n"
    made = cell(source.format(times=2), name="make")
    assert digest(made("a")) == digest(made("a"))
    assert digest(made("a")) != digest(made("b"))
    assert digest(made("a")) != digest(cell(source.format(times=3), name="make")("a"))


def test_functions_that_call_themselves_have_a_key():
    source = "def mine(n):\n    return other(n)\ndef other(n):\n    return mine(n - 1) if n else 0\n"
    assert digest(cell(source)) == digest(cell(source))


def test_sets_are_keyed_whatever_their_order():
    source = "def mine(problem):\n    return WORDS\n"
    assert digest(cell(source, WORDS={"a", "b", "c"})) == digest(cell(source, WORDS={"c", "b", "a"}))
    assert digest(cell(source, WORDS={"a"})) != digest(cell(source, WORDS=["a"]))


def test_modules_are_keyed_by_version_where_installed_and_by_source_where_not(tmp_path, monkeypatch):
    import numpy as np

    source = "def mine(problem):\n    return np.log(2) + prompts.f()\n"
    monkeypatch.syspath_prepend(tmp_path)
    found = set()
    for number in (1, 2, 2):
        (tmp_path / "own_prompts.py").write_text(f"def f():\n    return {number}\n")
        sys.modules.pop("own_prompts", None)
        found.add(digest(cell(source, np=np, prompts=import_module("own_prompts"))))
    assert len(found) == 2
    sys.modules.pop("own_prompts")


class Held:
    pass


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda problem: problem.question, "is a lambda"),
        (functools.partial(print, 1), "is a partial, not a plain function"),
        (print, "is a builtin_function_or_method, not a plain function"),
        (functools.cache(cell(PLAIN)), "not a plain function"),
        (
            cell("def mine(p):\n    return TABLE\n", TABLE=object()),
            "uses 'TABLE' (an object), which kdprobe cannot hash into the stage's cache key",
        ),
        (
            cell("def mine(p):\n    return Held()\n", Held=Held),
            "the class Held), which kdprobe cannot hash into the stage's cache key",
        ),
        (cell("def mine(p):\n    import nowhere_at_all\n    return 1\n"), "imports 'nowhere_at_all', which is not"),
    ],
)
def test_what_has_no_key_is_refused_in_a_sentence(function, words):
    with pytest.raises(UsageError, match="The function 'mine'") as caught:
        digest(function)
    assert words in str(caught.value)


def test_code_without_source_is_refused():
    space = {"__name__": "__main__"}
    exec("def mine(problem):\n    return 1\n", space)
    with pytest.raises(UsageError, match="has no readable source"):
        digest(space["mine"])


def test_a_file_that_changed_after_it_was_loaded_is_refused(tmp_path, monkeypatch):
    # The old code would run under the key of the new text.
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "edited_strategies.py"
    file.write_text(PLAIN)
    mine = import_module("edited_strategies").mine
    before = digest(mine)
    file.write_text(f"# A comment moves it.\n{PLAIN}")
    with pytest.raises(UsageError, match="its source file changed after it was loaded"):
        digest(mine)
    file.write_text(PLAIN)
    assert digest(mine) == before
    sys.modules.pop("edited_strategies")


def host_with(**functions):
    from kdprobe.api.given.functions import add_functions
    from kdprobe.host.choice import Choice
    from kdprobe.host.registry import Host

    host = Host(choice=Choice(none=True))
    add_functions(host, **functions)
    return host


def test_a_strategy_may_return_the_teachers_text():
    from kdprobe import Problem, PromptPair

    problem = Problem("1", "How many?", "#### 2", "2")
    render = host_with(strategies={"mine": cell(PLAIN)}).create("strategies", "mine")
    assert render(problem) == PromptPair(
        teacher=[{"role": "user", "content": "Think. How many?"}], student=[{"role": "user", "content": "How many?"}]
    )


def test_stages_are_keyed_by_the_functions_source():
    from kdprobe.experiment.stages.context import plugin_key

    keys = [
        plugin_key(host_with(strategies={"mine": cell(source)}), "strategies", "mine")
        for source in (PLAIN, PLAIN, PLAIN.replace("Think", "Sing"))
    ]
    assert keys[0] == keys[1] != keys[2]
    assert keys[0]["source"] == digest(cell(PLAIN))


METRIC = "def mine(view):\n    return view.mean_over_queries(view.pattern.amax(dim=-1))\n"


def test_analyses_are_keyed_by_the_source_of_head_metrics_that_are_functions():
    from kdprobe.experiment.stages.context import plugin_key

    keys = [
        plugin_key(host_with(head_metrics={"mine": cell(source)}), "head-metrics", "mine")
        for source in (METRIC, METRIC, METRIC.replace("amax", "amin"))
    ]
    assert keys[0] == keys[1] != keys[2]
    with pytest.raises(UsageError, match="is a lambda"):
        host_with(head_metrics={"mine": lambda view: view.pattern})
    with pytest.raises(UsageError, match=r"head_metrics must be a dict of names to functions"):
        kdprobe.plan({"name": "x"}, head_metrics=[cell(METRIC)])


def test_names_that_are_taken_or_no_names_are_refused():
    with pytest.raises(UsageError, match="The strategy 'teacher' already exists"):
        host_with(strategies={"teacher": cell(PLAIN)})
    with pytest.raises(UsageError, match="needs a name made of letters"):
        host_with(strategies={"my strategy": cell(PLAIN)})
    with pytest.raises(UsageError, match="is a str"):
        host_with(strategies={"mine": "text"})


@pytest.mark.parametrize("given", [[test_names_that_are_taken_or_no_names_are_refused], len, "units"])
def test_functions_come_by_name(given):
    with pytest.raises(UsageError, match=r"strategies must be a dict of names to functions. Write strategies="):
        kdprobe.plan({"name": "x"}, strategies=given)


def test_an_analysis_asks_for_what_a_context_has():
    with pytest.raises(UsageError, match=r"an unknown parameter 'student'\. Available parameters: students, problems"):
        host_with(analyses={"mine": cell("def mine(student):\n    return student\n")})
    host = host_with(analyses={"mine": cell("def mine(bridges, seed, top=3):\n    return seed\n")})
    assert host.create("analyses", "mine").needs == {"students", "problems"}


def test_bugs_of_functions_name_the_function():
    from kdprobe import KdprobeError, Problem
    from kdprobe.probing import AnalysisContext

    host = host_with(
        strategies={"odd": cell("def mine(problem):\n    return problem.nothing\n")},
        analyses={"crash": cell("def mine(seed):\n    return seed.nothing\n")},
    )
    with pytest.raises(KdprobeError, match="The strategy 'odd' failed: AttributeError: 'Problem' object") as caught:
        host.create("strategies", "odd")(Problem("1", "How many?", "#### 2", "2"))
    assert isinstance(caught.value.__cause__, AttributeError)
    with pytest.raises(KdprobeError, match="The analysis 'crash' failed: AttributeError: 'int' object"):
        host.create("analyses", "crash").run(AnalysisContext())


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("None", r"it returned None \(did you forget `return`\?\)"),
        ("['Think.', problem.question]", "it returned a list"),
    ],
)
def test_a_strategy_that_returns_no_prompt_is_told_what_to_return(returned, told):
    from kdprobe import KdprobeError, Problem

    host = host_with(strategies={"mine": cell(f"def mine(problem):\n    return {returned}\n")})
    with pytest.raises(KdprobeError, match=rf"'mine' must return the text that the teacher reads, or .*'p1' {told}"):
        host.create("strategies", "mine")(Problem("p1", "How many?", "#### 2", "2"))


def test_a_lambda_in_a_list_of_analyses_needs_a_name():
    import kdprobe

    for nameless in (lambda patterns: patterns, functools.partial(print, 1)):
        with pytest.raises(UsageError, match=r"has no name\. Name it: analyses=\{'NAME': function"):
            kdprobe.probe(patterns={"a": "nowhere.npz"}, analyses=[nameless])
