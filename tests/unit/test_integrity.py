"""Damage, power cuts and the remains of dead processes, on stages of plain files."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from kdprobe.errors import KdprobeError
from kdprobe.experiment.integrity.checks import DamagedStageError
from kdprobe.experiment.integrity.manifest import seal
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.store import Store
from kdprobe.files import UnreadableError, read_sealed, write_sealed


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.prepare()
    return store


def write(folder, inputs, scratch):
    (folder / "inner").mkdir()
    (folder / "a.parquet").write_bytes(b"the rows")
    (folder / "inner" / "weights").write_bytes(b"the weights")


def stage(work=write, inputs=(), **settings):
    return Stage("distill", "arm", settings, inputs, work)


def flip(file):
    """Changes one bit, but not size and times."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def put_another_stage_there(file):
    """A complete manifest, but with another key."""
    if file.name == "stage.json":
        write_sealed(file, {**read_sealed(file), "key": "0" * 20})
    else:
        flip(file)


DAMAGES = {
    "bit": flip,
    "cut": cut,
    "empty": lambda file: file.write_bytes(b""),
    "gone": Path.unlink,
    "other": put_another_stage_there,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["a.parquet", "inner/weights", "stage.json"])
def test_a_damaged_stage_is_set_aside_reported_and_made_again(store, name, damage, capsys):
    assert store.make(stage())
    damage(store.folder(stage()) / name)
    again = Store(store.root)
    assert again.make(stage())
    assert capsys.readouterr().err.startswith("distill arm is damaged: ")
    assert (store.folder(stage()) / "a.parquet").read_bytes() == b"the rows"
    assert [path.name for path in (store.root / "aside").iterdir()] == [f"distill-{stage().key}-1"]
    assert not again.make(stage())
    assert not Store(store.root).make(stage())


def test_a_second_damage_is_set_aside_beside_the_first(store):
    for _ in range(2):
        Store(store.root).make(stage())
        flip(store.folder(stage()) / "a.parquet")
    Store(store.root).make(stage())
    assert len(list((store.root / "aside").iterdir())) == 2


def test_a_stage_does_not_read_a_damaged_input(store):
    store.make(stage())
    flip(store.folder(stage()) / "inner" / "weights")
    read = []
    needing = stage(lambda folder, inputs, scratch: read.append(inputs), inputs=(stage(),))
    with pytest.raises(DamagedStageError, match="inner/weights was changed after it was written"):
        Store(store.root).make(needing)
    assert read == []


def test_a_file_is_read_for_its_checksum_once(store, monkeypatch):
    from kdprobe.experiment.integrity import manifest

    store.make(stage())
    read, real = [], manifest.sha256
    monkeypatch.setattr(manifest, "sha256", lambda file: read.append(file.name) or real(file))
    # This process wrote it.
    store.make(stage())
    assert read == []
    again = Store(store.root)
    for _ in range(2):
        again.checks.file(again.folder(stage()), "a.parquet")
    assert read == ["a.parquet"]
    again.make(stage())
    again.make(stage(write, (stage(),), rank=1))
    assert sorted(read) == ["a.parquet", "a.parquet", "weights", "weights"]


def test_a_stage_that_another_process_made_again_is_not_taken_for_damaged(store):
    store.make(stage())
    slow = Store(store.root)
    assert slow.status(stage()) == "done"
    flip(store.folder(stage()) / "a.parquet")
    # Its work does not come out the same to the byte: it may hold times.
    Store(store.root).make(stage(lambda folder, inputs, scratch: (folder / "a.parquet").write_bytes(b"new rows")))
    assert not slow.make(stage())


def test_what_was_made_from_another_outcome_is_made_again_and_else_it_is_not(store, capsys):
    """A server's model may answer differently when a damaged transfer stage is rerun."""
    made, said = [], ["first", "first", "second"]

    def answer(folder, inputs, scratch):
        (folder / "rows.parquet").write_text(said[len(made)])
        (folder / "times.json").write_text(str(len(made)))
        made.append("answers")

    def learn(folder, inputs, scratch):
        shutil.copy(inputs[0] / "rows.parquet", folder / "weights.safetensors")
        made.append("student")

    answers = Stage("transfer", "none", {}, (), answer)
    student = Stage("distill", "student", {}, (answers,), learn)
    records = Stage("evaluate", "student", {}, (student,), lambda *_: made.append("records"))

    def run():
        made.clear()
        again = Store(store.root)
        statuses = [again.status(stage) for stage in (answers, student, records)]
        for stage in (answers, student, records):
            again.make(stage)
        return statuses, list(made)

    assert run()[1] == ["answers", "student", "records"]
    flip(store.folder(answers) / "rows.parquet")
    said[0] = "first"
    assert run()[1] == ["answers"]
    flip(store.folder(answers) / "rows.parquet")
    said[0] = "second"
    capsys.readouterr()
    assert run()[1] == ["answers", "student", "records"]
    assert f"the transfer stage {answers.key} that it was computed from has changed since" in capsys.readouterr().err
    assert run() == (["done"] * 3, [])
    # Deleting its folder also makes a stage run again.
    shutil.rmtree(store.folder(answers))
    said[0] = "third"
    Store(store.root).make(answers)
    assert [Store(store.root).status(stage) for stage in (answers, student, records)] == ["done", "damaged", "done"]
    assert run()[1] == ["student", "records"]


def test_nothing_goes_on_from_what_was_begun_with_another_input(store):
    def fail(folder, inputs, scratch):
        (scratch / "learned").write_text((inputs[0] / "rows.parquet").read_text())
        raise RuntimeError("killed")

    def learn(folder, inputs, scratch):
        learned = scratch / "learned"
        (folder / "weights.safetensors").write_text(learned.read_text() if learned.exists() else "from the start")

    def answers(text):
        return Stage("transfer", "none", {}, (), lambda folder, *_: (folder / "rows.parquet").write_text(text))

    store.make(answers("first"))
    with pytest.raises(RuntimeError, match="killed"):
        store.make(stage(fail, (answers("first"),)))
    store.make(stage(learn, (answers("first"),)))
    weights = store.folder(stage(learn, (answers("first"),))) / "weights.safetensors"
    assert weights.read_text() == "first"
    shutil.rmtree(weights.parent)
    with pytest.raises(RuntimeError, match="killed"):
        Store(store.root).make(stage(fail, (answers("first"),)))
    flip(store.folder(answers("")) / "rows.parquet")
    again = Store(store.root)
    again.make(answers("second"))
    again.make(stage(learn, (answers("second"),)))
    assert weights.read_text() == "from the start"


def test_what_reads_manifests_only_reads_no_other_file(store, monkeypatch):
    from kdprobe.experiment.integrity import manifest

    store.make(stage())
    monkeypatch.setattr(manifest, "sha256", lambda file: pytest.fail(f"{file} was read"))
    assert Store(store.root).status(stage()) == "done"
    assert Store(store.root).status(stage(rank=1)) == "missing"
    cut(store.folder(stage()) / "a.parquet")
    assert Store(store.root).status(stage()) == "damaged"
    flip(store.folder(stage()) / "stage.json")
    assert Store(store.root).status(stage()) == "damaged"
    assert Store(store.root).older_stages() == 0


def test_stages_of_a_version_that_kept_sizes_only_are_used(store, capsys):
    store.make(stage())
    file = store.folder(stage()) / "stage.json"
    manifest = json.loads(file.read_text())
    del manifest["checksum"]
    manifest["files"] = {name: entry["size"] for name, entry in manifest["files"].items()}
    file.write_text(json.dumps(manifest))
    assert not Store(store.root).make(stage())
    cut(store.folder(stage()) / "a.parquet")
    assert Store(store.root).make(stage())
    assert "a.parquet was changed after it was written" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\udcff", "[" * 100_000, '{"a": 1, "checksum": []}'])
def test_what_is_not_a_sealed_file_is_unreadable(tmp_path, text):
    (tmp_path / "file").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UnreadableError, match="was changed after it was written"):
        read_sealed(tmp_path / "file")


def test_a_folder_without_a_manifest_does_not_block_its_stage(store, capsys):
    target = store.folder(stage())
    target.mkdir(parents=True)
    (target / "somebody's").touch()
    assert store.status(stage()) == "missing"
    assert store.make(stage())
    assert f"it has no stage.json. It was moved to {store.root / 'aside'}" in capsys.readouterr().err
    assert (store.root / "aside" / f"distill-{stage().key}-1" / "somebody's").is_file()


def test_nor_does_one_that_appears_while_the_stage_is_made(store, capsys):
    def work(folder, inputs, scratch):
        store.folder(stage()).mkdir(parents=True)
        (store.folder(stage()) / "somebody's").touch()
        write(folder, inputs, scratch)

    assert store.make(stage(work))
    assert not store.make(stage())
    assert "It was moved to" in capsys.readouterr().err


def test_all_is_on_the_disk_before_it_has_its_name_and_before_the_scratch_goes(store, monkeypatch):
    """A test cannot cut the power, but it can check the order of the calls."""
    calls = []
    real_sync, real_rename, real_remove = os.fsync, os.rename, shutil.rmtree
    monkeypatch.setattr(
        os, "fsync", lambda fd: calls.append(("sync", str(Path(f"/proc/self/fd/{fd}").readlink()))) or real_sync(fd)
    )
    monkeypatch.setattr(os, "rename", lambda a, b: calls.append(("rename", str(b))) or real_rename(a, b))
    monkeypatch.setattr(shutil, "rmtree", lambda a, **_: calls.append(("remove", str(a))) or real_remove(a))
    store.make(stage())
    target, making = store.folder(stage()), store.root / "making" / f"{stage().key}-{os.getpid()}"
    scratch = store.root / "making" / f"{stage().key}.scratch"
    renamed = calls.index(("rename", str(target)))
    before, after = [path for kind, path in calls[:renamed] if kind == "sync"], calls[renamed + 1 :]
    written = {str(making / name) for name in ("a.parquet", "inner", "inner/weights")}
    assert written <= set(before)
    assert str(store.root / "stages") in before
    # The manifest, then the folder that names it.
    assert before.index(str(making), before.index(str(making)) + 1) > max(map(before.index, written))
    assert any("stage.json" in path for path in before)
    assert after == [("sync", str(target.parent)), ("remove", str(scratch))]


@pytest.fixture
def other_disk(tmp_path):
    """A folder on another file system."""
    folder = Path("/dev/shm")
    if not folder.is_dir() or folder.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=folder) as other:
        yield Path(other)


@pytest.mark.parametrize("part", ["stages", "stages/distill", "aside"])
def test_parts_of_a_store_on_different_disks_are_refused_at_the_start(tmp_path, other_disk, part):
    (tmp_path / part).parent.mkdir(exist_ok=True)
    (tmp_path / part).symlink_to(other_disk)
    with pytest.raises(KdprobeError, match="on different disks"):
        Store(tmp_path).prepare()
    assert list(other_disk.iterdir()) == []
    assert not list((tmp_path / "making").iterdir())


def test_runs_may_be_on_another_disk(tmp_path, other_disk):
    (tmp_path / "runs").symlink_to(other_disk)
    store = Store(tmp_path)
    store.prepare()
    assert store.make(stage())


def test_a_whole_store_on_another_disk_works(tmp_path, other_disk):
    (tmp_path / "store").symlink_to(other_disk)
    store = Store(tmp_path / "store")
    store.prepare()
    assert store.make(stage())


def killed(store, line):
    """A process that runs a stage, and is killed after this line of the store's code."""
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom kdprobe.experiment import store as module\n"
        f"def die(*a, **k): os.kill(os.getpid(), signal.SIGKILL)\n{line}\n"
        "store = module.Store(Path(sys.argv[1])); store.prepare()\n"
        "def work(folder, inputs, scratch): (scratch / 'begun').touch(); (folder / 'a').touch()\n"
        "store.make(module.Stage('distill', 'arm', {}, (), work))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(store.root)], check=False)
    assert done.returncode == -9


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("line", "finished", "left"),
    [
        ("module.seal = die", False, [".begun-from", "begun"]),
        ("module.Path.rename = die", False, [".begun-from", "begun"]),
        ("module.shutil.rmtree = die", True, []),
    ],
)
def test_what_killed_processes_leave_is_cleared_but_not_what_the_next_goes_on_from(store, line, finished, left):
    killed(store, line)
    making = store.root / "making"
    assert everything(making) != []
    # Another stage's: not its business, but nobody else's either.
    Store(store.root).prepare()
    assert Store(store.root).has(stage()) == finished
    scratch = f"{stage().key}.scratch"
    assert everything(making) == ([scratch, *(f"{scratch}/{name}" for name in left)] if left else [])
    Store(store.root).make(stage())
    assert everything(making) == []


def test_files_half_written_by_dead_processes_are_cleared(store):
    (store.root / "runs" / "a").mkdir()
    left = [store.root / "making" / ".writable-1", store.root / "runs" / "a" / ".run.json.1.partial"]
    fresh = store.root / "runs" / "a" / ".run.json.2.partial"
    for file in (*left, fresh):
        file.touch()
    for file in left:
        os.utime(file, (time.time() - 100, time.time() - 100))
    store.prepare()
    assert [file for file in (*left, fresh) if file.exists()] == [fresh]


def test_what_a_living_process_makes_is_left_alone(store):
    def work(folder, inputs, scratch):
        Store(store.root).prepare()
        write(folder, inputs, scratch)

    assert store.make(stage(work))
    assert everything(store.root / "making") == []


def test_a_lock_whose_file_was_removed_still_keeps_two_processes_apart(store):
    """The waiting process holds a file that is gone when it gets the lock."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom kdprobe.experiment.integrity.upkeep import exclusive\n"
        "log = Path(sys.argv[2])\n"
        "for _ in range(20):\n"
        "    with exclusive(Path(sys.argv[1]), 'waiting'):\n"
        "        inside = log.with_name('inside'); inside.touch(exist_ok=False); time.sleep(0.002); inside.unlink()\n"
    )
    lock = store.root / "making" / "x.lock"
    command = [sys.executable, "-c", script, str(lock), str(store.root / "log")]
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert not lock.exists()


def test_files_get_the_permissions_that_the_umask_gives(store):
    """safetensors writes files that only their owner may read."""

    def work(folder, inputs, scratch):
        write(folder, inputs, scratch)
        (folder / "a.parquet").chmod(0o600)
        (folder / "inner" / "weights").chmod(0o700)

    before = os.umask(0o027)
    try:
        store.make(stage(work))
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in store.folder(stage()).rglob("*") if file.is_file()}
    assert modes == {"a.parquet": 0o640, "weights": 0o740, "stage.json": 0o640}


def test_a_seal_lists_every_file_below_the_folder(tmp_path):
    folder = tmp_path / "distill" / "key"
    folder.mkdir(parents=True)
    write(folder, [], None)
    seal(folder, {"kind": "distill", "key": "key"})
    assert set(read_sealed(folder / "stage.json")["files"]) == {"a.parquet", "inner/weights"}
