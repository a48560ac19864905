"""Every way in which an installed plugin can be broken, all installed at once: the host still works and says why."""

import json
import os
import subprocess
import sys
from textwrap import dedent

import pytest
from wheels import install, write_wheel

GOOD = """
from kdprobe import PromptPair, StrategySpec, hookimpl
from kdprobe.strategies import bare

def build(options):
    return lambda problem: PromptPair(teacher=bare(problem), student=bare(problem))

@hookimpl
def kdprobe_strategies():
    yield StrategySpec(name="NAME", summary="As it is", build=build)
"""
BROKEN = {
    # name: (source, status, what the sentence says)
    "missing-dependency": (
        "import no_such_library\n" + GOOD,
        "broken",
        "It needs the module 'no_such_library', which is not installed; install what kdprobe-missing-dependency",
    ),
    "exits": (
        "import sys\nsys.exit('goodbye')\n",
        "broken",
        "It exits the program when it is loaded: SystemExit: goodbye.",
    ),
    "raises-at-import": ("raise ValueError('at import\\nand more')\n", "broken", "ValueError: at import"),
    "raises-in-the-hook": (
        "from kdprobe import hookimpl\n@hookimpl\ndef kdprobe_strategies():\n    raise ValueError('in the hook')\n",
        "broken",
        "ValueError: in the hook",
    ),
    "raises-while-yielding": (
        GOOD + "    raise ValueError('after the first')\n",
        "broken",
        "ValueError: after the first",
    ),
    "wrong-signature": (
        GOOD.replace("kdprobe_strategies()", "kdprobe_strategies(problem, seed=0)"),
        "broken",
        "kdprobe_strategies(problem) has the wrong signature: it must be kdprobe_strategies().",
    ),
    "unknown-hook": (
        GOOD.replace("kdprobe_strategies", "kdprobe_stratagems"),
        "broken",
        "kdprobe_stratagems is not a kdprobe hook; did you mean kdprobe_strategies?",
    ),
    "future-api": (
        "kdprobe_api = 99\n" + GOOD,
        "incompatible",
        "It needs hook API 99, but kdprobe VERSION has 5: upgrade kdprobe, or install an older version of the plugin.",
    ),
    "past-api": (
        "kdprobe_api = 1\n" + GOOD,
        "incompatible",
        "It was written for hook API 1, but kdprobe VERSION has 5: upgrade the plugin, or install an older kdprobe.",
    ),
    "class": (
        "class Plugin:\n    pass\n",
        "broken",
        "Its entry point names the class Plugin; it must name a module, or an instance of the class.",
    ),
    "invalid-options": (
        GOOD.replace("build=build", "build=build, options={'times': int}"),
        "broken",
        "The StrategySpec 'invalid-options': options must be a pydantic model, not an object of dict.",
    ),
    "options-without-a-schema": (
        "from pydantic import BaseModel\nclass Options(BaseModel):\n    times: 'NoSuchType'\n"
        + GOOD.replace("build=build", "build=build, options=Options"),
        "broken",
        "its options Options are not valid: PydanticUserError",
    ),
    "newer-import": (
        "from kdprobe import FutureSpec\n",
        "incompatible",
        "It needs a different version of kdprobe: cannot import name 'FutureSpec' from 'kdprobe'",
    ),
    "other-exit": ("class Stop(BaseException): pass\nraise Stop('quite')\n", "broken", "Stop: quite"),
    "unsayable": ("class E(Exception):\n    def __str__(self): return 1/0\nraise E\n", "broken", "E: no message"),
    "unmarked": (
        GOOD.replace("@hookimpl", ""),
        "broken",
        "kdprobe_strategies is not marked as a hook: write @hookimpl above it.",
    ),
    "no-hook": ("x = 1\n", "broken", "It implements no kdprobe hook; the hooks are kdprobe_strategies, "),
    "async": (GOOD.replace("def kdprobe", "async def kdprobe"), "broken", "kdprobe_strategies is async"),
    "wrapper": (
        GOOD.replace("@hookimpl", "@hookimpl(wrapper=True)"),
        "broken",
        "kdprobe_strategies is a hook wrapper",
    ),
    "not-a-module": ("def broken(\n", "broken", "SyntaxError: '(' was never closed"),
    "bad-name": (GOOD.replace('"NAME"', '"../up"'), "broken", "The StrategySpec '../up' needs a name made of letters"),
    "twice": (GOOD + GOOD.rsplit("\n", 2)[1] + "\n", "broken", "kdprobe_strategies yields 'twice' twice."),
    "build-is-no-function": (
        GOOD.replace("build=build", "build='build'"),
        "broken",
        "The StrategySpec 'build-is-no-function': build must be a function that takes the options, not str.",
    ),
    "api-is-text": ("kdprobe_api = '1'\n" + GOOD, "broken", "Its kdprobe_api must be a positive integer"),
}
NOISY = """
import os, subprocess, sys
print("NOISE from print")
os.write(1, b"NOISE from the descriptor\\n")
sys.__stdout__.write("NOISE from the other stdout\\n")
subprocess.run([sys.executable, "-S", "-c", "print('NOISE from a child')"])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip installed all of them."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = {name: source.replace("NAME", name) for name, (source, _, _) in BROKEN.items()}
    sources |= {"noisy": NOISY + GOOD.replace("NAME", "noisy"), "fine": GOOD.replace("NAME", "fine")}
    wheels = []
    for name, source in sources.items():
        module = f"kdprobe_{name.replace('-', '_')}"
        value = f"{module}:Plugin" if name == "class" else module
        wheels.append(write_wheel(folder, f"kdprobe-{name}", module, source, {name: value}))
    for package in ("alpha-twin", "beta-twin"):
        source = GOOD.replace("NAME", package)
        wheels.append(
            write_wheel(folder, package, package.replace("-", "_"), source, {"twin": package.replace("-", "_")})
        )
    for package in ("rival-one", "rival-two"):
        source = GOOD.replace("NAME", "contested")
        wheels.append(
            write_wheel(folder, package, package.replace("-", "_"), source, {package: package.replace("-", "_")})
        )
    return install(tmp_path_factory.mktemp("site"), *wheels)


@pytest.fixture(scope="module")
def kdprobe(site):
    """Runs the command line with all of them installed."""

    def run(*arguments, **variables):
        path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-m", "kdprobe", *map(str, arguments)],
            # Buffered, as it is wherever stdout is no terminal: what stays in the buffer must not come out later.
            env={**os.environ, "PYTHONUNBUFFERED": "", "PYTHONPATH": path, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def listed(kdprobe):
    """The output of `kdprobe plugins --json`, by package."""
    told = kdprobe("plugins", "--json")
    assert told.returncode == 0, told.stderr
    return {row["source"]: row for row in json.loads(told.stdout) if row["source"] != "builtin"}


@pytest.mark.parametrize("name", BROKEN)
def test_status_and_sentence(listed, name):
    from kdprobe import __version__

    _, status, sentence = BROKEN[name]
    row = listed[f"kdprobe-{name}"]
    assert (row["status"], row["provides"], row["offers"]) == (status, {}, [])
    assert sentence.replace("VERSION", __version__) in row["reason"]
    assert "\n" not in row["reason"]
    assert "Traceback" in row["trace"]


def test_the_good_ones_beside_them_work(listed):
    assert listed["kdprobe-fine"]["provides"] == {"strategies": ["fine"]}
    assert listed["kdprobe-noisy"]["provides"] == {"strategies": ["noisy"]}


def test_the_second_of_a_name_is_shadowed_and_both_packages_are_named(listed):
    assert (listed["alpha-twin"]["status"], listed["beta-twin"]["status"]) == ("ok", "shadowed")
    assert "alpha-twin also provides a plugin named 'twin'" in listed["beta-twin"]["reason"]


def test_one_strategy_from_two_packages_is_a_conflict_that_names_the_other(listed):
    assert listed["rival-one"]["conflicts"] == ["The strategy 'contested' is also provided by rival-two."]
    assert listed["rival-two"]["conflicts"] == ["The strategy 'contested' is also provided by rival-one."]


def test_what_plugins_print_goes_to_stderr(kdprobe):
    told = kdprobe("plugins", "--json")
    assert "NOISE" not in told.stdout
    assert told.stderr.count("NOISE") == 4


def test_one_plugin_is_shown_with_its_traceback(kdprobe):
    shown = kdprobe("plugins", "raises-while-yielding").stdout
    assert "raises-while-yielding 1.0 from kdprobe-raises-while-yielding: broken" in shown
    assert "ValueError: after the first" in shown
    assert "kdprobe_raises_while_yielding.py" in shown


def test_strict_lists_all_and_fails(kdprobe):
    told = kdprobe("plugins", "--json", KDPROBE_STRICT_PLUGINS="1")
    assert told.returncode == 1
    assert len(json.loads(told.stdout)) > len(BROKEN)
    assert "KDPROBE_STRICT_PLUGINS is set" in told.stderr
    assert "future-api is incompatible" in told.stderr


def test_blocked_plugins_are_not_even_loaded(kdprobe):
    told = kdprobe("plugins", "--json", KDPROBE_BLOCK="noisy, kdprobe-exits,beta-twin")
    rows = {row["source"]: row for row in json.loads(told.stdout)}
    assert "NOISE" not in told.stderr
    for package in ("kdprobe-noisy", "kdprobe-exits", "beta-twin"):
        assert (rows[package]["status"], rows[package]["reason"]) == ("blocked", "Excluded by KDPROBE_BLOCK.")
    assert rows["alpha-twin"]["status"] == "ok"


def test_no_plugins_leaves_kdprobes_own(kdprobe):
    told = kdprobe("plugins", "--no-plugins", "--json", KDPROBE_STRICT_PLUGINS="1")
    assert told.returncode == 0
    statuses = {row["source"]: row["status"] for row in json.loads(told.stdout)}
    assert statuses["builtin"] == "ok"
    assert {status for source, status in statuses.items() if source != "builtin"} == {"blocked"}


@pytest.fixture
def config(tmp_path):
    """Writes a config with these strategies and nothing else."""

    def write(*strategies):
        file = tmp_path / "experiment.toml"
        file.write_text(
            dedent(f"""
            name = "tiny"
            strategies = {json.dumps(strategies)}
            [problems]
            source = "jsonl"
            options = {{ transfer = "none.jsonl", test = "none.jsonl" }}
            transfer = 1
            test = 1
            [teacher]
            options = {{ model = "none" }}
            """),
            encoding="utf-8",
        )
        return file

    return write


def test_a_config_that_needs_them_is_told_why_each_is_missing_all_at_once(kdprobe, config):
    told = kdprobe("plan", config("contested", "exits", "step-back", "fine", "finne"))
    assert told.returncode == 2
    lines = [line.strip() for line in told.stderr.splitlines() if line.startswith("  - ")]
    assert len(lines) == 4
    assert "'contested' is provided by rival-one and rival-two. Keep only one of them" in lines[0]
    assert "KDPROBE_BLOCK=rival-two" in lines[0]
    assert (
        "There is no strategy named 'exits'. It should come from kdprobe-exits, which is broken: It exits" in lines[1]
    )
    assert "Install or upgrade the package that provides it: pip install --upgrade kdprobe-" in lines[2]
    assert "Did you mean 'fine'?" in lines[3]
    assert not told.stdout
