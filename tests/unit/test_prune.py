"""Removing what no run needs, on stages of plain files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from kdprobe.cli import main
from kdprobe.errors import KdprobeError
from kdprobe.experiment.integrity.prune import prune, unneeded
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.store import Store
from kdprobe.files import write_json, write_sealed


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.prepare()
    return store


def stage(kind, inputs=(), **settings):
    def work(folder, inputs, scratch):
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_bytes(b"ten bytes.")

    return Stage(kind, "arm", settings, inputs, work)


def make_run(store, name, record="run.json"):
    """A run of three stages, the first of which its record does not name."""
    first = stage("transfer", run=name)
    second = stage("distill", (first,))
    third = stage("evaluate", (second,))
    for needed in (first, second, third):
        store.make(needed)
    arm = {"transfer": None, "select": None, "distill": second.key, "evaluate": third.key}
    said = {"arms": [arm], "analyses": {}} if record == "run.json" else {"stages": [second.key, third.key]}
    folder = store.run_folder(name)
    folder.mkdir()
    write_sealed(folder / record, said)
    return first, second, third


def paths(items):
    return [item.path for item in items]


def make_waste(store):
    """Writes one of everything that no run needs; returns path mapped to reason."""
    lost = stage("analyse", lost=True)
    store.make(lost)
    old = store.root / "stages" / "distill" / "0123456789abcdef0123"
    old.mkdir(parents=True, exist_ok=True)
    write_json(old / "stage.json", {"kind": "distill", "name": "arm", "key": old.name, "settings": {}})
    nameless = store.root / "stages" / "evaluate" / "somebody's"
    nameless.mkdir(parents=True, exist_ok=True)
    scratch = store.root / "making" / f"{'1' * 20}.scratch"
    scratch.mkdir()
    aside = store.root / "aside" / "distill-x-1"
    (aside / "inner").mkdir(parents=True)
    record = store.root / "aside" / "run-run.json-1"
    record.write_text("{}")
    remembered = store.root / "remembered"
    remembered.mkdir(exist_ok=True)
    (remembered / "entry.json").write_text("{}")
    return {
        store.folder(lost): "no run needs it",
        old: "from an earlier version of kdprobe",
        nameless: "its manifest is damaged",
        scratch: "unfinished, and no run needs it",
        aside: "found damaged and moved aside",
        record: "found damaged and moved aside",
        remembered: "a cache that makes plans faster",
    }


def left(root):
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))


@pytest.mark.parametrize("record", ["run.json", "begun.json"])
def test_what_a_run_needs_stays_and_the_rest_goes(store, record):
    make_run(store, "a", record)
    kept = left(store.root)
    waste = make_waste(store)
    found = unneeded(store.root)
    assert {item.path: item.reason for item in found} == waste
    assert {item.path: item.size for item in found}[next(iter(waste))] > 10
    assert prune(store.root, found) == found
    assert left(store.root) == kept
    assert unneeded(store.root) == []
    assert list((store.root / "making").iterdir()) == []


def test_what_a_run_that_has_not_finished_resumes_from_stays(store):
    begun = store.root / "making" / f"{'2' * 20}.scratch"
    begun.mkdir()
    store.run_folder("a").mkdir()
    write_sealed(store.run_folder("a") / "begun.json", {"stages": ["2" * 20]})
    assert begun not in make_waste(store)
    prune(store.root, unneeded(store.root))
    assert list((store.root / "making").iterdir()) == [begun]


def test_a_run_that_is_gone_needs_nothing_but_what_others_need_stays(store):
    stages, others = make_run(store, "a"), make_run(store, "b")
    store.run_folder("c").mkdir()
    write_sealed(store.run_folder("c") / "run.json", {"arms": [], "analyses": {"heads": stages[1].key}})
    for gone in ("a", "b"):
        shutil.rmtree(store.run_folder(gone))
    prune(store.root, unneeded(store.root))
    # The one that c names, and the one that it was computed from.
    assert [store.has(made) for made in stages] == [True, True, False]
    assert not any(store.has(made) for made in others)


def test_older_stages_that_an_old_run_needs_stay(store):
    make_waste(store)
    store.run_folder("old").mkdir()
    arm = {"transfer": None, "distill": "0123456789abcdef0123", "evaluate": "0" * 20}
    write_json(store.run_folder("old") / "run.json", {"arms": [arm], "analyses": {}})
    assert "from an earlier version of kdprobe" not in [item.reason for item in unneeded(store.root)]


@pytest.mark.parametrize(
    "text", ["{", '{"arms": [1]}', '{"arms": {"a": 1}}', '{"arms": 3}', '{"analyses": []}', '{"stages": [[]]}']
)
def test_a_damaged_record_stops_it_for_nobody_knows_what_the_run_needs(store, text):
    make_waste(store)
    store.run_folder("a").mkdir()
    (store.run_folder("a") / "run.json").write_text(text)
    with pytest.raises(KdprobeError, match=r"The run a is damaged \(run\.json (is not|was) .*\), so its stages"):
        unneeded(store.root)


def test_what_was_made_or_needed_since_it_was_shown_stays(store):
    make_waste(store)
    found = unneeded(store.root)
    make_run(store, "a")
    lost = stage("analyse", lost=True)
    write_sealed(store.run_folder("a") / "begun.json", {"stages": [lost.key]})
    removed = prune(store.root, found)
    assert len(removed) == len(found) - 1
    assert store.has(lost)


HOLD = """
import sys, time
from pathlib import Path
from kdprobe.experiment.store import Store
store = Store(Path(sys.argv[1]))
store.hold()
print(flush=True)
sys.stdin.read()
"""


def test_nothing_goes_while_another_process_uses_the_store(store):
    make_waste(store)
    found, everything = unneeded(store.root), left(store.root)
    command = [sys.executable, "-c", HOLD, store.root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(KdprobeError, match=f"Another process \\(PID {other.pid}\\) is using the store"):
            prune(store.root, found)
        assert left(store.root) == everything
        other.kill()
        other.wait()
    assert len(list(store.root.glob(".using-*"))) == 2
    assert prune(store.root, found) == found
    # What the dead one left is gone, too; this process still uses the store.
    assert len(list(store.root.glob(".using-*"))) == 1


def test_who_is_done_with_a_store_leaves_nothing_behind(store):
    done = subprocess.run([sys.executable, "-c", HOLD, store.root], check=True, input=b"", stdout=subprocess.PIPE)
    assert done.returncode == 0
    own = list(store.root.glob(".using-*"))
    assert len(own) == 1
    assert f"-{os.getpid()}-" in own[0].name


def test_a_reader_of_a_store_that_cannot_be_written_needs_no_lock(tmp_path, monkeypatch):
    """Root may write everywhere, so the file system is made to refuse."""
    from filelock import FileLock

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "store").mkdir()
    monkeypatch.setattr(FileLock, "acquire", refuse)
    Store(tmp_path / "store").hold()
    Store(tmp_path / "missing").hold()
    assert list(tmp_path.rglob("*")) == [tmp_path / "store"]


def test_a_stage_that_a_process_makes_again_stays(store):
    lost = stage("analyse", lost=True)
    store.make(lost)
    script = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n    print(flush=True)\n    sys.stdin.read()"
    lock = store.root / "making" / f"{lost.key}.lock"
    command = [sys.executable, "-c", script, lock]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert prune(store.root, unneeded(store.root)) == []
        assert store.has(lost)
        other.stdin.close()
    assert paths(prune(store.root, unneeded(store.root))) == [store.folder(lost)]


@pytest.mark.parametrize("call", ["rmtree", "unlink"])
def test_a_kill_leaves_stages_whole_or_absent_and_the_next_command_goes_on(store, call):
    make_run(store, "a")
    kept = left(store.root)
    make_waste(store)
    script = (
        "import os, shutil, signal, sys\nfrom pathlib import Path\n"
        "from kdprobe.experiment.integrity import prune as module\n"
        "root = Path(sys.argv[1])\nfound = module.unneeded(root)\n"
        "def die(path, *a, **k):\n"
        "    if 'lock' not in str(path): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"module.shutil.rmtree, Path.unlink = {'die, Path.unlink' if call == 'rmtree' else 'shutil.rmtree, die'}\n"
        "module.prune(root, found)\n"
    )
    root = store.root
    for file in root.glob(".using-*"):
        # This process no longer counts.
        file.unlink()
    done = subprocess.run([sys.executable, "-c", script, root], check=False)
    assert done.returncode == -9
    for folder in root.glob("stages/*/*"):
        assert not (folder / "stage.json").exists() or "settings" in json.loads((folder / "stage.json").read_text())
    prune(root, unneeded(root))
    assert left(root) == kept
    assert list((root / "making").iterdir()) == []


def run_cli(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_the_command_lists_asks_and_removes(store, capsys, monkeypatch):
    make_run(store, "a")
    waste = make_waste(store)
    everything = left(store.root)
    assert run_cli("store", "prune", "--store", store.root) == 2
    said = capsys.readouterr()
    assert "Nothing was removed" in said.err
    assert "7 in total" in said.out
    assert run_cli("store", "prune", "--dry-run", "--store", store.root) == 0
    capsys.readouterr()
    assert run_cli("store", "prune", "--dry-run", "--json", "--store", store.root) == 0
    listed = json.loads(capsys.readouterr().out)["unneeded"]
    assert {Path(item["path"]) for item in listed} == set(waste)
    assert not any(item["removed"] for item in listed)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(click.termui, "visible_prompt_func", lambda _: "n")
    assert run_cli("store", "prune", "--store", store.root) == 0
    assert left(store.root) == everything
    assert "Nothing was removed." in capsys.readouterr().err
    assert run_cli("store", "prune", "--yes", "--json", "--store", store.root) == 0
    done = json.loads(capsys.readouterr().out)["unneeded"]
    assert all(item["removed"] for item in done)
    assert not any(path.exists() for path in waste)
    assert run_cli("store", "prune", "--store", store.root) == 0
    assert "0 in total" in capsys.readouterr().out


def test_the_list_has_the_sizes_of_runs(store, capsys):
    make_run(store, "a")
    stages = make_run(store, "b", "begun.json")
    assert run_cli("store", "list", "--json", "--store", store.root) == 0
    entries = json.loads(capsys.readouterr().out)
    sizes = {entry["name"]: entry["bytes"] for entry in entries}
    runs = {entry["name"]: entry for entry in entries if entry["kind"] == "run"}
    assert set(runs) == {"a", "b"}
    by_key = {Path(entry["path"]).name: entry for entry in entries if entry["kind"] != "run"}
    assert sizes["arm"] > 10
    total = sum(by_key[made.key]["bytes"] for made in stages)
    assert runs["b"]["stages_bytes"] == runs["b"]["own_stages_bytes"] == total
    assert run_cli("store", "list", "--store", store.root) == 0
    assert "needed by no other run" in capsys.readouterr().out
