"""Every command, config and Python example in the documentation is checked, or says why it is not run."""

import contextlib
import json
import re
import sys
import tomllib
import types

import click
import pytest
import yaml
from doc_blocks import ROOT, RUN_BY, Block, blocks_of, commands, pages, words

from kdprobe.cli import app
from kdprobe.experiment.config import EMBEDDED
from kdprobe.experiment.load_config import check
from kdprobe.host.candidates import Candidate, builtin_candidates
from kdprobe.host.discovery import discover
from kdprobe.host.registry import Host

PAGES = pages()
BLOCKS = [block for page, text in PAGES.items() for block in blocks_of(page, text)]
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def chosen(kind, *, marked=None):
    """Parameters: the blocks of a kind, by whether they are marked as not run."""
    found = [block for block in BLOCKS if block.kind == kind and marked in {None, block.reason is not None}]
    return pytest.mark.parametrize("block", found, ids=lambda block: block.where)


def parse(arguments):
    """Parses the arguments of `kdprobe` with its own parser, and runs nothing."""
    command, arguments = app, list(arguments)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name = arguments.pop(0)
        command = command.get_command(click.Context(command), name)
        if command is None:
            raise click.UsageError(f"There is no command {name}.")
    with contextlib.suppress(click.exceptions.Exit):  # --version and --help
        command.make_context("kdprobe", arguments)


def checked_fault(block):
    """What is wrong with a block of commands that is not run, as a sentence; nothing if it may stay."""
    for command in commands(block.text):
        program, *arguments = words(command)
        if program == "kdprobe":
            try:
                parse(arguments)
            except click.ClickException as error:
                return f"{command!r}: {error.format_message()}"
        elif program == "make":
            if missing := {word for word in arguments if "=" not in word} - set(TARGETS):
                return f"{command!r}: the Makefile has no {missing}"
        elif program not in {"cat", "cd", "sed", "source"} and block.reason is None:
            return f"{command!r} is neither run nor checked; say why before the block: <!-- not run: ... -->"
    return None


def example_plugins():
    """The Python examples with hooks, each after those above it on its page, with the name that it offers."""
    hooked = [block for block in BLOCKS if block.kind == "python" and "@hookimpl" in block.text]
    for block in hooked:
        above = [each.text for each in hooked if each.page == block.page and each.line < block.line]
        source = "\n".join([*(text.replace("@hookimpl", "") for text in above), block.text])
        yield block.where, re.search(r'Spec\(name="([\w-]+)"', block.text)[1], source


EXAMPLES = list(example_plugins())


def candidate(where, source):
    """An example as a plugin."""
    module = types.ModuleType(re.sub(r"\W", "_", where))
    exec(compile(source, where, "exec"), module.__dict__)
    return Candidate(module.__name__, "0", module.__name__, lambda: module)


@pytest.fixture(scope="module")
def host():
    """kdprobe's own plugins, the packages in plugins/, and the examples that they do not provide."""
    packages = []
    for folder in sorted((ROOT / "plugins").glob("*/src/*/")):
        sys.path.insert(0, str(folder.parent))
        packages.append(Candidate(folder.name, "0", folder.name, lambda name=folder.name: __import__(name)))
    examples = [candidate(where, source) for where, name, source in EXAMPLES if name != "step-back"]
    providers = discover([*builtin_candidates(), *packages, *examples])
    assert {provider.status for provider in providers} == {"ok"}
    return Host(providers)


def test_there_are_blocks_of_every_kind():
    assert {block.kind for block in BLOCKS} == {"bash", "python", "toml", "yaml", "json", "text"}
    assert {"README.md", "CONTRIBUTING.md", "docs/how-to/probe.md"} <= {block.page for block in BLOCKS}


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if RUN_BY.search(text)])
def test_pages_that_another_test_runs_name_it(page):
    test = RUN_BY.search(PAGES[page])["test"]
    assert page.rpartition("/")[2] in (ROOT / test).read_text(encoding="utf-8")


def test_every_fence_is_found():
    for page, text in PAGES.items():
        assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(blocks_of(page, text)), page


@chosen("bash")
def test_commands_are_those_that_kdprobe_and_make_know(block):
    if RUN_BY.search(PAGES[block.page]) is None:
        assert checked_fault(block) is None


@chosen("toml")
def test_configs_are_accepted(block, host):
    fragment = tomllib.loads(block.text)
    if block.reason is None:
        data = tomllib.loads(EMBEDDED.read_text(encoding="utf-8")) | fragment
        assert check(data, host, block.where)


@chosen("yaml")
def test_yaml_is_yaml(block):
    assert isinstance(yaml.safe_load(block.text), dict)


@chosen("json")
def test_json_is_json(block):
    assert all(json.loads(line) for line in block.text.splitlines())


@chosen("python", marked=True)
def test_python_that_is_not_run_compiles(block):
    compile(block.text, block.where, "exec")


@pytest.mark.parametrize(("where", "name", "source"), EXAMPLES, ids=[where for where, *_ in EXAMPLES])
def test_example_plugins_work(where, name, source):
    (provider,) = discover([candidate(where, source)])
    assert provider.status == "ok", provider.trace
    (spec,) = provider.specs
    assert spec.name == name
    assert Host([provider]).create(spec.kind, name, {}) is not None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kdprobe score a.csv --extractor all", None),
        ("kdprobe score a.csv --extractors all", "No such option"),
        ("kdprobe scores a.csv", "There is no command scores"),
        ("kdprobe plan \\\n  mine.toml --no-plugin", "No such option"),
        ("A=1 kdprobe run mine.toml  # --unknown", None),
        ("make tset", "the Makefile has no {'tset'}"),
        ("pip install x", "is neither run nor checked"),
    ],
)
def test_a_planted_fault_is_found(text, fault):
    found = checked_fault(Block("page.md", 1, "bash", text, None))
    assert found is None if fault is None else fault in found


def test_a_block_with_a_reason_may_hold_other_commands():
    (block,) = blocks_of("page.md", "<!-- not run: installs -->\n\n```bash\npip install x\n```\n")
    assert block.reason == "installs"
    assert checked_fault(block) is None


def test_commands_are_joined_and_take_their_here_documents():
    script = "cat > a <<'END'\nkdprobe no\nEND\nkdprobe plan \\\n  x\n# a comment\n"
    assert list(commands(script)) == ["cat > a <<'END'\nkdprobe no\nEND", "kdprobe plan   x"]
