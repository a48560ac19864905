"""Every file of a finished run is damaged in turn and read again: it is reported and rerun, and changes no number."""

import os
import shutil
from itertools import chain, cycle
from pathlib import Path

import pytest
from commands import command

ALL = bool(os.environ.get("KDPROBE_ALL_FAULTS"))
"""Whether every file is damaged in every way; otherwise, every other file of one stage of each kind in one way."""


def flip(content):
    place = len(content) * 2 // 3
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def tear(content):
    """The beginning and the size reached the disk, the rest did not."""
    half = len(content) // 2
    return content[:half] + bytes(len(content) - half)


DAMAGES = {
    "bit": flip,
    "torn": tear,
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "gone": None,
}


def damage(file, kind):
    """Damages a file; its times stay the same, and so does its size for a flipped bit or a torn file."""
    before, change = file.stat(), DAMAGES[kind]
    if change is None:
        file.unlink()
        return
    file.write_bytes(change(file.read_bytes()))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(scope="module")
def finished(tiny_model, tiny_config, tmp_path_factory):
    """A tiny run with all kinds of stages: its config, its store, and the output of commands on it."""
    folder = tmp_path_factory.mktemp("finished")
    config = tiny_config(tiny_model)
    store = folder / "store"
    ran = command("run", config, "--store", store, "--json", folder=folder)
    assert ran.code == 0, ran.err
    said = {name: told(name, config, store, folder)[1] for name in ("run", "report", "compare")}
    return config, store, said


def told(name, config, store, folder):
    """The outcome of a command: exit code, results, messages."""
    what = {"run": config, "report": "tiny", "compare": "tiny"}[name]
    done = command(name, what, "--store", store, "--json", folder=folder)
    return done, numbers(done.data) if done.code == 0 else None


def numbers(results):
    """All results except times, speed, the page's path, and warnings, which report damage."""
    fidelity = {
        arm: {name: value for name, value in values.items() if name != "tokens_per_second"}
        for arm, values in results.get("fidelity", {}).items()
    }
    return {name: value for name, value in results.items() if name not in {"seconds", "report", "warnings"}} | {
        "fidelity": fidelity
    }


def files(store):
    """Every file of the run's stages, and the run's record; unless all are wanted, of one stage of each kind."""
    stages = [sorted(kind.iterdir()) for kind in sorted((store / "stages").iterdir())]
    chosen = chain.from_iterable(stages if ALL else [folders[:1] for folders in stages])
    found = [file for folder in chosen for file in sorted(folder.rglob("*")) if file.is_file()]
    return [file.relative_to(store) for file in [*found, *store.glob("runs/*/run.json")]]


@pytest.mark.parametrize("half", [0, 1] if ALL else [0])
def test_damage_is_reported_and_made_again_and_changes_no_number(half, finished, tmp_path):
    config, whole, said = finished
    kinds, readers = cycle(DAMAGES), cycle(("report", "compare"))
    cases = [(file, kind) for file in files(whole) for kind in (DAMAGES if ALL else [next(kinds)])][half::2]
    silent = []
    for number, (file, kind) in enumerate(cases):
        store = shutil.copytree(whole, tmp_path / str(number))
        damage(store / file, kind)
        case = f"{kind} {file}"
        name = next(readers)
        done, results = told(name, config, store, tmp_path)
        assert "Traceback" not in done.err, (case, name, done.err)
        # What a command does not read it cannot miss; what it says is what it said before.
        assert done.code == 0 or "damaged" in done.err or "no finished run" in done.err, (case, name, done.err)
        assert results in (None, said[name]), (case, name)
        done, results = told("run", config, store, tmp_path)
        assert (done.code, results) == (0, said["run"]), (case, done.err)
        if "damaged" not in done.err and file.name != "run.json":
            silent.append(case)
        assert command("store", "verify", "--store", store, folder=tmp_path).code == 0, case
        shutil.rmtree(store)
    assert silent == []
    assert len(cases) > 10


def test_verify_names_damage_and_repair_moves_it_away(finished, tmp_path):
    config, whole, said = finished
    store = shutil.copytree(whole, tmp_path / "store")
    fine = command("store", "verify", "--store", store, "--json", folder=tmp_path)
    assert fine.code == 0
    assert not any(entry["damage"] for entry in fine.data)
    stages = {file.parent for file in store.glob("stages/*/*/stage.json")}
    assert len(fine.data) == len(stages) + 1
    assert all(entry["runs"] == [entry["runs"][0]] for entry in fine.data)
    record = next(store.glob("runs/*/run.json"))
    records = next(store.glob("stages/evaluate/*/records.parquet"))
    for file in (record, records):
        damage(file, "bit")
    found = command("store", "verify", "--store", store, "--json", folder=tmp_path)
    assert found.code == 1
    assert {Path(entry["path"]): entry["damage"] for entry in found.data if entry["damage"]} == {
        record: ["run.json was changed after it was written"],
        records.parent: ["records.parquet was changed after it was written"],
    }
    assert "2 of" in found.err
    assert command("runs", "--store", store, folder=tmp_path).code == 0
    repaired = command("store", "verify", "--repair", "--store", store, "--json", folder=tmp_path)
    assert repaired.code == 0
    assert all(Path(entry["moved"]).exists() for entry in repaired.data if entry["damage"])
    assert command("store", "verify", "--store", store, folder=tmp_path).code == 0
    done, results = told("run", config, store, tmp_path)
    assert (done.code, results) == (0, said["run"])
    listed = command("store", "list", "--store", store, "--json", folder=tmp_path)
    assert {entry["name"] for entry in listed.data if entry["kind"] == "evaluate"} >= {"teacher", "untrained"}
    assert all(entry["bytes"] > 0 for entry in listed.data)
