"""Pages are followed from top to bottom with a tiny model: commands, Python examples, and the output shown."""

import json
import linecache
import subprocess
from dataclasses import dataclass, field

import pytest
from doc_blocks import blocks_of, commands, pages, words


@dataclass(frozen=True)
class Session:
    """Pages whose blocks are run in order, in one folder.

    Attributes:
        pages: The pages.
        replaced: Text in the blocks to what stands for it here, besides the model.
        python_only: Pages whose commands are not run; `test_blocks` parses them.
    """

    pages: tuple[str, ...]
    replaced: dict[str, str] = field(default_factory=dict)
    python_only: tuple[str, ...] = ()


SESSIONS = [
    Session(("docs/evaluation-tutorial.md",)),
    Session(("docs/heads-tutorial.md",)),
    Session(("docs/how-to/use-in-a-notebook.md",)),
    Session(("docs/how-to/write-a-strategy.md",)),
    Session(("docs/how-to/probe.md",), python_only=("docs/how-to/probe.md",)),
    Session(
        ("docs/tutorial.md", "docs/how-to/keep-a-store.md", "docs/how-to/ship-a-student.md", "README.md"),
        {
            "report RUN": "report tiny",
            "export mine": "export tiny",
            "report mine": "report tiny",
            "store prune  ": "store prune --yes ",
            "embedded/ground-truth": "tiny/short",
        },
        python_only=("README.md",),
    ),
    Session(
        ("docs/how-to/find-the-heads-that-matter.md",),
        {"[(14, 5), (17, 2)]": "[(0, 1), (1, 2)]"},
        python_only=("docs/how-to/find-the-heads-that-matter.md",),
    ),
]


@pytest.fixture
def folder(tmp_path, monkeypatch, problem_rows):
    rows = "".join(json.dumps(row) + "\n" for row in problem_rows(0, 2))
    (tmp_path / "mine.jsonl").write_text(rows, encoding="utf-8")
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("id,gold,response\n1,48,The answer is 48\n2,9,9\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("KDPROBE_STORE", raising=False)
    return tmp_path


@pytest.fixture
def follow(folder, run_cli, tiny_model, tiny_config, torch, tmp_path_factory):
    """Runs a session's blocks, and checks that the output they show is printed."""
    from kdprobe.testing.models import write_random_adapter

    adapter = write_random_adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "taught", seed=0)
    built_in = {"smollm2-135m-instruct": tiny_model, "kdprobe:embedded-teacher": adapter}

    def run(command, strategies):
        """Runs one command, and returns what `kdprobe` printed; a config that it writes is replaced by a tiny one."""
        program, *arguments = words(command)
        if program == "kdprobe":
            printed = run_cli(*arguments)
            if arguments[0] == "init":
                tiny_config(tiny_model, strategies=strategies).replace(folder / arguments[1])
            return printed
        if program not in {"make", "source"}:  # installation
            subprocess.run(["bash", "-ec", command], check=True)
        return ""

    def all_of(session):
        texts, namespace, printed = pages(), {"__name__": "__main__"}, ""
        blocks = [block for page in session.pages for block in blocks_of(page, texts[page]) if block.reason is None]
        strategies = next((block.text.partition("=")[2] for block in blocks if block.kind == "toml"), "")
        for block in blocks:
            text = block.text
            for written, here in (session.replaced | built_in).items():
                text = text.replace(written, str(here))
            if block.kind == "text" and block.page not in session.python_only:
                shown = [line.rstrip() for line in printed.splitlines()]
                missing = [line for line in text.splitlines() if not any(each.startswith(line) for each in shown)]
                assert missing == [], f"{block.where}: {printed}"
            elif block.kind == "python":
                # As in a notebook, where functions have a source.
                where = f"<{block.where}>"
                linecache.cache[where] = (len(text), None, text.splitlines(keepends=True), where)
                exec(compile(text, where, "exec"), namespace)
            elif block.kind == "bash" and block.page not in session.python_only:
                printed += "".join(run(command, strategies) for command in commands(text))

    return all_of


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.pages[0])
def test_a_page_can_be_followed(session, follow):
    follow(session)
