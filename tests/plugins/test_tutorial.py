"""The eight steps of the plugin tutorial, command by command, with the tiny model in place of the real one."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.packages

TUTORIAL = Path(__file__).parents[2] / "docs" / "plugin-tutorial.md"
BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<kind>\w+)\n(?P<text>.*?)```", re.DOTALL)


def shims(folder, site):
    """`kdprobe`, `pip` and `pytest` of this environment, except for where pip installs."""
    folder.mkdir()
    pip = f"-m pip --disable-pip-version-check $1 --no-deps --no-build-isolation --upgrade --target {site} ${{@:2}}"
    for name, words in {"kdprobe": '-m kdprobe "$@"', "pytest": '-m pytest "$@"', "pip": pip}.items():
        file = folder / name
        file.write_text(f"#!/usr/bin/env bash\nexec {sys.executable} {words}\n", encoding="utf-8")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return folder


def script(tiny_model):
    """The tutorial as one script: it runs commands, writes modules, and changes lines of the config."""
    lines = ["set -euo pipefail"]
    for block in BLOCK.finditer(TUTORIAL.read_text(encoding="utf-8")):
        text, file = block["text"], re.search(r"`([\w./]+\.(?:py|toml))`", block["before"])
        if block["kind"] == "bash":
            lines.append(text)
        elif block["kind"] == "python":
            lines.append(f"cat > {file[1]} <<'END'\n{text}END\n")
        elif block["kind"] == "toml" and file:
            key = "strategies" if text.startswith("strategies") else "analyses"
            smaller = {
                # The list ends with a bracket at the beginning of a line.
                rf"(?s)^{key} = \[.*?\n\]": text.removeprefix("[probe]\n").strip(),
                r'"smollm2-135m-instruct"': f'"{tiny_model}"',
                r"^adapter = .*": "",
                r"^(transfer|test) = \d+": r"\1 = 4",
                r"^(max_new_tokens) = \d+": r"\1 = 8",
            }
            code = f"import re,pathlib; f=pathlib.Path({file[1]!r}); t=f.read_text()\n"
            code += "".join(f"t=re.sub({old!r},{new!r},t,flags=re.M)\n" for old, new in smaller.items())
            lines.append(f"{sys.executable} - <<'END'\n{code}f.write_text(t)\nEND\n")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def followed(tiny_model, tmp_path_factory):
    """The finished process, and the folder in which it all happened."""
    folder = tmp_path_factory.mktemp("tutorial")
    site = folder / "site"
    work = folder / "work"
    work.mkdir()
    env = {
        **os.environ,
        "PATH": os.pathsep.join([str(shims(folder / "bin", site)), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
        "COLUMNS": "100",
    }
    told = subprocess.run(
        ["bash", "-c", script(tiny_model)], cwd=work, env=env, capture_output=True, text=True, check=False
    )
    return told, work


def test_every_command_works(followed):
    told, _ = followed
    assert told.returncode == 0, told.stdout + told.stderr


def test_what_the_tutorial_shows_is_what_is_printed(followed):
    printed = [line.rstrip() for line in followed[0].stdout.splitlines()]
    shown = [block["text"] for block in BLOCK.finditer(TUTORIAL.read_text(encoding="utf-8")) if block["kind"] == "text"]
    assert len(shown) == 3
    for line in "".join(shown).splitlines():
        assert any(there.startswith(line) for there in printed), line


def test_the_report_has_the_strategy_as_an_arm(followed):
    (page,) = followed[1].glob("kdprobe-runs/runs/*/report.html")
    assert "draw-first" in page.read_text(encoding="utf-8")
    assert any(line.startswith("draw-first ") for line in followed[0].stdout.splitlines())


def test_it_has_eight_steps():
    assert re.findall(r"^## (\d)\.", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE) == list("12345678")
