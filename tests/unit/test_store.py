import dataclasses
import hashlib
import json
import math

import pytest

from kdprobe.errors import KdprobeError
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.store import Store
from kdprobe.files import digest, read_json, write_json


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.prepare()
    return store


def stage(work=None, inputs=(), **settings):
    return Stage("distill", "arm", settings, inputs, work or (lambda folder, inputs, scratch: None))


def test_a_stage_is_made_once_and_kept(store):
    calls = []

    def work(folder, inputs, scratch):
        calls.append(inputs)
        (folder / "out.txt").write_text("made")

    made = stage(work, rank=8)
    assert (store.make(made), store.make(made)) == (True, False)
    assert calls == [[]]
    assert (store.folder(made) / "out.txt").read_text() == "made"
    sha256 = hashlib.sha256(b"made").hexdigest()
    assert read_json(store.folder(made) / "stage.json")["files"] == {"out.txt": {"size": 4, "sha256": sha256}}


def test_a_stage_reads_its_inputs_folders(store):
    first = stage(lambda folder, inputs, scratch: (folder / "a").write_text("from the first"))
    second = stage(
        lambda folder, inputs, scratch: (folder / "b").write_text((inputs[0] / "a").read_text()), inputs=(first,)
    )
    store.make(first)
    store.make(second)
    assert (store.folder(second) / "b").read_text() == "from the first"


def test_failing_work_leaves_nothing_finished_and_its_remains_are_cleared(store):
    def fail(folder, inputs, scratch):
        (folder / "half.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        store.make(stage(fail))
    assert not store.has(stage())
    # As if another process had been killed: its remains carry another number.
    (store.root / "making" / f"{stage().key}-0").mkdir()
    assert store.make(stage())
    assert not (store.folder(stage()) / "half.txt").exists()
    assert [path for path in (store.root / "making").iterdir() if path.is_dir()] == []


def test_scratch_survives_a_failure_and_is_gone_after_success(store):
    def work(folder, inputs, scratch):
        if not (scratch / "begun").exists():
            (scratch / "begun").touch()
            raise RuntimeError("killed")
        (folder / "went-on").touch()

    with pytest.raises(RuntimeError, match="killed"):
        store.make(stage(work))
    assert store.make(stage(work))
    assert (store.folder(stage()) / "went-on").exists()
    assert [path for path in (store.root / "making").iterdir() if path.is_dir()] == []


def test_keys_follow_settings_and_inputs_but_not_names():
    plain = stage(rank=8)
    assert plain.key == stage(rank=8).key == dataclasses.replace(plain, name="other").key
    assert plain.key != stage(rank=9).key
    assert plain.key != dataclasses.replace(plain, kind="evaluate").key
    assert stage(inputs=(plain,)).key != stage(inputs=(stage(rank=9),)).key != stage().key


def test_digest_ignores_the_order_of_keys():
    assert digest({"a": 1, "b": (2, 3)}) == digest({"b": [2, 3], "a": 1})


def test_nan_and_infinities_become_null(tmp_path):
    file = tmp_path / "x.json"
    write_json(file, {"a": math.nan, "b": [math.inf, 1.5], "c": (-math.inf,)})
    assert json.loads(file.read_text()) == {"a": None, "b": [None, 1.5], "c": [None]}
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "x.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert read_json(file) == {"a": 1}


def test_a_store_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KdprobeError, match="Cannot write to the store"):
        Store(tmp_path / "file" / "store").prepare()


def test_waiting_for_another_process_is_told(store, capsys):
    import subprocess
    import sys

    hold = "import sys, time, filelock\nwith filelock.FileLock(sys.argv[1]):\n    print(flush=True)\n    time.sleep(1)"
    lock = store.root / "making" / f"{stage().key}.lock"
    with subprocess.Popen([sys.executable, "-c", hold, lock], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert store.make(stage())
    assert "Another process is running distill arm" in capsys.readouterr().err
    store.make(stage(rank=9))
    assert capsys.readouterr().err == ""


def test_stages_with_keys_of_an_earlier_version_are_counted_and_left_alone(store):
    store.make(stage())
    old = store.root / "stages" / "distill" / "0123456789abcdef0123"
    old.mkdir(parents=True)
    # As the first version wrote them.
    write_json(old / "stage.json", {"kind": "distill", "name": "arm", "key": old.name, "settings": {}})
    assert store.older_stages() == 1
    store.make(stage(rank=9))
    assert (old / "stage.json").is_file()
