"""Archives of runs: what they carry, what is rejected, and that a rejected import changes nothing."""

import hashlib
import io
import json
import os
import random
import shutil
import signal
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.experiment.archive.read import import_run
from kdprobe.experiment.archive.write import export_run
from kdprobe.experiment.integrity.checks import DamagedStageError
from kdprobe.experiment.results import load_results
from kdprobe.experiment.stages.stage import KINDS, Stage
from kdprobe.experiment.store import Store
from kdprobe.files import CHECKSUM, digest, read_sealed, write_sealed

RUN = "tiny-01234567"


def stages(answer="4"):
    def train(folder, inputs, scratch):
        (folder / "adapter" / "runs").mkdir(parents=True)
        (folder / "adapter" / "weights.safetensors").write_bytes(bytes(range(256)) * 100)
        (folder / "adapter" / "runs" / "12:30 events, ü").write_bytes(b"")
        (folder / "training.json").write_text('{"history": []}')

    def ask(folder, inputs, scratch):
        pq.write_table(pa.table({"id": ["a"], "response": [answer]}), folder / "records.parquet")

    training = Stage("distill", "arm", {"rank": 8, "rate": 1e-3, "none": None}, (), train)
    return training, Stage("evaluate", "arm", {}, (training,), ask)


def write_run(root, answer="4"):
    """A run as written by `kdprobe run`, but with stages made without a model; returns its store."""
    store = Store(root)
    store.prepare()
    made = stages(answer)
    for stage in made:
        store.make(stage)
    training, evaluated = made
    arm = {"name": "arm", "strategy": None, "distiller": "logits", "seed": 0, "transfer": None, "select": None}
    arm |= {"distill": training.key, "evaluate": evaluated.key}
    store.run_folder(RUN).mkdir()
    record = {"run": RUN, "config": {"strategies": []}, "arms": [arm], "analyses": {}}
    write_sealed(store.run_folder(RUN) / "run.json", record)
    return store


@pytest.fixture
def store(tmp_path):
    return write_run(tmp_path / "store")


@pytest.fixture
def archive(store, tmp_path):
    return export_run(store, "tiny", tmp_path / "run.tar").file


def held(root):
    """Maps every file of a store, except locks, to its content."""
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in root.rglob("*")
        if file.is_file() and not file.name.startswith(".")
    }


def test_a_run_is_carried_with_all_its_stages(store, archive, tmp_path):
    other = Store(tmp_path / "other")
    done = import_run(other, archive)
    assert (done.run, done.added, done.known) == (RUN, 2, 0)
    assert held(other.root) == held(store.root)
    assert [arm.records for arm in load_results(other, RUN).arms] == [[{"id": "a", "response": "4"}]]
    assert not any(other.make(stage) for stage in stages("never asked"))
    assert list((other.root / "making").iterdir()) == []
    again = import_run(Store(other.root), archive)
    assert (again.added, again.known) == (0, 2)
    assert held(other.root) == held(store.root)


@pytest.mark.parametrize("kind", KINDS)
def test_stages_of_every_kind_are_carried(store, kind, tmp_path):
    """Here as inputs of the evaluation, because records name each kind in its own way."""

    def write(folder, inputs, scratch):
        (folder / "file").write_text(kind)

    training, evaluated = stages()
    first = Stage(kind, "arm", {"first": True}, (), write)
    asked = Stage("evaluate", "arm", {"after": kind}, (training, first), evaluated.work)
    for stage in (first, asked):
        store.make(stage)
    file = store.run_folder(RUN) / "run.json"
    record = read_sealed(file)
    record["arms"][0]["evaluate"] = asked.key
    write_sealed(file, record)
    other = Store(tmp_path / "other")
    import_run(other, export_run(store, "tiny", tmp_path / "run.tar").file)
    assert (other.folder_of(kind, first.key) / "file").read_text() == kind


def test_any_program_can_list_it_and_two_exports_are_the_same(store, archive, tmp_path):
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    assert names[:2] == ["kdprobe-run.json", f"runs/{RUN}/run.json"]
    assert f"stages/distill/{stages()[0].key}/adapter/runs/12:30 events, ü" in names
    assert export_run(store, RUN, tmp_path / "again.tar").size == archive.stat().st_size
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_an_export_is_whole_or_absent(store, tmp_path):
    (tmp_path / "there.tar").touch()
    with pytest.raises(UsageError, match="already exists"):
        export_run(store, RUN, tmp_path / "there.tar")
    with pytest.raises(UsageError, match="does not exist"):
        export_run(store, RUN, tmp_path / "missing" / "run.tar")
    weights = store.folder(stages()[0]) / "adapter" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    # Its report does not read the weights.
    load_results(Store(store.root), RUN)
    with pytest.raises(DamagedStageError, match=r"weights\.safetensors was changed after it was written"):
        export_run(Store(store.root), RUN, tmp_path / "run.tar")
    assert {path.name for path in tmp_path.iterdir()} == {"store", "there.tar"}


def test_stages_without_checksums_are_not_carried(store, tmp_path):
    file = store.folder(stages()[1]) / "stage.json"
    manifest = json.loads(file.read_text())
    del manifest["checksum"]
    manifest["files"] = {name: entry["size"] for name, entry in manifest["files"].items()}
    file.write_text(json.dumps(manifest))
    with pytest.raises(KdprobeError, match="earlier version"):
        export_run(Store(store.root), RUN, tmp_path / "run.tar")
    assert not (tmp_path / "run.tar").exists()


def test_what_is_damaged_in_the_store_is_set_aside_and_taken_from_the_archive(store, archive, capsys):
    weights = store.folder(stages()[0]) / "adapter" / "weights.safetensors"
    weights.write_bytes(b"")
    record = store.run_folder(RUN) / "run.json"
    record.write_text("{")
    done = import_run(Store(store.root), archive)
    assert (done.added, done.known) == (1, 1)
    assert len(weights.read_bytes()) == 25_600
    assert read_sealed(record)["run"] == RUN
    assert capsys.readouterr().err.count("has been moved to") == 2
    assert len(list((store.root / "aside").iterdir())) == 2


def test_another_outcome_of_a_stage_is_not_mixed_with_the_one_in_the_store(archive, tmp_path):
    """A server may have answered differently there; the run's numbers would then differ from the original."""
    other = write_run(tmp_path / "other", answer="5")
    before = held(other.root)
    shutil.rmtree(other.folder(stages()[0]))
    shutil.rmtree(other.run_folder(RUN))
    left = held(other.root)
    with pytest.raises(KdprobeError, match="has different results in this store"):
        import_run(Store(other.root), archive)
    assert held(other.root) == left
    assert len(left) < len(before)


def test_another_run_of_the_same_name_is_left_alone(store, archive):
    record = store.run_folder(RUN) / "run.json"
    write_sealed(record, {"arms": [], "analyses": {}})
    before = held(store.root)
    with pytest.raises(KdprobeError, match="already has a different run named"):
        import_run(Store(store.root), archive)
    assert held(store.root) == before


def rewritten(archive, change):
    """An archive with its files changed, by `change(name, content) -> {name: content}`."""
    target = archive.with_name("changed.tar")
    with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
        for member in old:
            content = old.extractfile(member).read()
            for name, data in change(member.name, content).items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                new.addfile(info, io.BytesIO(data))
    return target


def resealed(content, **changes):
    data = json.loads(content)
    data.pop(CHECKSUM)
    data |= changes
    return json.dumps({**data, CHECKSUM: digest(data)}).encode()


def changed_manifest(**changes):
    def change(name, content):
        return {name: resealed(content, **changes) if "distill" in name and "stage.json" in name else content}

    return change


def changed_record(**changes):
    return lambda name, content: {name: resealed(content, **changes) if name.endswith("run.json") else content}


def without(end):
    return lambda name, content: {} if name.endswith(end) else {name: content}


def flipped(end):
    return lambda name, content: {name: content[:-1] + bytes([content[-1] ^ 1]) if name.endswith(end) else content}


def forged_weights(name, content):
    """Different weights with a matching manifest, but from training with another rank."""
    if name.endswith("weights.safetensors"):
        return {name: b"forged"}
    if "distill" in name and name.endswith("stage.json"):
        files = json.loads(content)["files"]
        files["adapter/weights.safetensors"] = {"size": 6, "sha256": hashlib.sha256(b"forged").hexdigest()}
        return {name: resealed(content, files=files, settings={"rank": 9})}
    return {name: content}


def more(name, content=b""):
    return lambda known, data: {known: data, **({name: content} if known == "kdprobe-run.json" else {})}


STAGE = f"stages/distill/{stages()[0].key}"
CHANGES = {
    "bit of weights": flipped("weights.safetensors"),
    "bit of a table": flipped("records.parquet"),
    "bit of a manifest": flipped("distill/" + stages()[0].key + "/stage.json"),
    "bit of the record": flipped("/run.json"),
    "bit of the head": flipped("kdprobe-run.json"),
    "no weights": without("weights.safetensors"),
    "no manifest": without("distill/" + stages()[0].key + "/stage.json"),
    "no record": without("/run.json"),
    "no head": without("kdprobe-run.json"),
    "no stage": lambda name, content: {} if "distill" in name else {name: content},
    "more in a stage": more(f"{STAGE}/more"),
    "another stage": more("stages/distill/" + "0" * 20 + "/stage.json", b"{}"),
    "another kind": more("stages/other/" + "0" * 20 + "/stage.json", b"{}"),
    "another record": more("runs/other/run.json", b"{}"),
    "another file": more("setup.py"),
    "absolute": more("/tmp/outside"),
    "absolute in a stage": more(f"{STAGE}//tmp/outside"),
    "upwards": more("../outside"),
    "upwards in a stage": more(f"{STAGE}/../../../../outside"),
    "upwards in a run": more("runs/../run.json"),
    "dot": more(f"{STAGE}/./adapter"),
    "hidden run": more("runs/.hidden/run.json"),
    "key of other letters": more("stages/distill/" + "z" * 20 + "/a"),
    "file and folder": more(f"{STAGE}/adapter"),
    "not utf-8": more(f"{STAGE}/\udcff"),
    "other settings": forged_weights,
    "older format": changed_manifest(key_format=1),
    "no checksums": changed_manifest(files={"training.json": 15}),
    "strange files": changed_manifest(files={"../../../run.json": {"size": 1, "sha256": "0"}}),
    "files that are none": changed_manifest(files={"adapter": {"size": 1, "sha256": "0"}}),
    "strange inputs": changed_manifest(inputs={"a": 1}),
    "strange origin": changed_manifest(made_from={"../../..": "x"}),
    "origin of another type": changed_manifest(made_from=[1]),
    "empty record": changed_record(arms=[], analyses={}),
    "record without a config": changed_record(config=None),
    "record of other types": changed_record(arms=[1]),
    "record that names a path": changed_record(analyses={"heads": "../../../outside"}),
    "head of another run": lambda name, content: {
        name: resealed(content, run="other") if name == "kdprobe-run.json" else content
    },
    "later format": lambda name, content: {
        name: resealed(content, format=2) if name == "kdprobe-run.json" else content
    },
}


def check_refused(archive, folder, match="was not imported|has format"):
    """An existing store stays unchanged, and a missing one is not created."""
    there = Store(folder / "there")
    there.prepare()
    for root in (there.root, folder / "new" / "store"):
        (folder / "new").mkdir(exist_ok=True)
        before = held(folder)
        with pytest.raises(KdprobeError, match=match):
            import_run(Store(root), archive)
        assert held(folder) == before
        assert list((there.root / "making").iterdir()) == []
    assert list((folder / "new").iterdir()) == []


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_archive_that_is_not_what_was_written_changes_nothing(archive, change, tmp_path):
    check_refused(rewritten(archive, change), tmp_path)


def test_the_changes_are_what_is_refused(archive, tmp_path):
    assert import_run(Store(tmp_path / "other"), rewritten(archive, lambda name, content: {name: content})).added == 2


def special(kind, **about):
    info = tarfile.TarInfo(f"{STAGE}/special")
    info.type = kind
    for name, value in about.items():
        setattr(info, name, value)
    return info


SPECIAL = {
    "link": special(tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": special(tarfile.LNKTYPE, linkname="../../../outside"),
    "device": special(tarfile.CHRTYPE, devmajor=1, devminor=5),
    "block device": special(tarfile.BLKTYPE),
    "pipe": special(tarfile.FIFOTYPE),
    "folder": special(tarfile.DIRTYPE),
    "contiguous": special(tarfile.CONTTYPE),
    "unknown": special(b"Z"),
    "sparse": special(tarfile.REGTYPE, pax_headers={"GNU.sparse.size": "99999999999", "GNU.sparse.map": "0,0"}),
    "too large": special(tarfile.REGTYPE, size=10**12),
    "negative": special(tarfile.REGTYPE, pax_headers={"size": "-512"}),
}


@pytest.mark.parametrize("info", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("first", [True, False])
def test_only_plain_files_are_taken(archive, info, first, tmp_path):
    target = tmp_path / "special.tar"
    header = info.tobuf(tarfile.PAX_FORMAT if info.pax_headers else tarfile.GNU_FORMAT)
    content = archive.read_bytes()
    end = 0 if first else content.rindex(b"ustar") - 257
    target.write_bytes(content[:end] + header + content[end:])
    check_refused(target, tmp_path)


def test_a_file_that_is_in_it_twice_is_refused(archive, tmp_path):
    with tarfile.open(archive, "a") as opened:
        opened.addfile(tarfile.TarInfo("kdprobe-run.json"))
    check_refused(archive, tmp_path, r"it contains .* twice")


@pytest.mark.parametrize("content", [b"", b"no archive", bytes(10240), b"\x1f\x8b" + bytes(100)])
def test_what_is_no_archive_is_refused(content, tmp_path):
    file = tmp_path / "run.tar"
    file.write_bytes(content)
    check_refused(file, tmp_path)


def test_a_compressed_archive_is_refused(archive, tmp_path):
    """A small archive may unpack to more than any disk can hold."""
    import gzip

    file = tmp_path / "run.tar.gz"
    file.write_bytes(gzip.compress(archive.read_bytes()))
    check_refused(file, tmp_path)


def test_a_folder_is_no_archive(tmp_path):
    with pytest.raises(UsageError, match="is not a file"):
        import_run(Store(tmp_path / "store"), tmp_path)


def test_every_cut_of_an_archive_is_refused(archive, tmp_path):
    content = archive.read_bytes()
    # Zeros end an archive; all that is before them is needed.
    end = len(content.rstrip(b"\0"))
    cuts = {random.Random(0).randrange(end) for _ in range(30)} | {512, 1024, 1536}
    file = tmp_path / "cut.tar"
    for cut in sorted(cuts):
        file.write_bytes(content[:cut])
        with pytest.raises(KdprobeError, match="was not imported"):
            import_run(Store(tmp_path / "other"), file)
        assert not (tmp_path / "other").exists(), cut


def test_no_flipped_byte_changes_what_is_read(store, archive, tmp_path):
    """If only an owner's name or a time was hit, the files are unchanged."""
    content, expected = archive.read_bytes(), held(store.root)
    draw, file, refused = random.Random(1), tmp_path / "flipped.tar", 0
    positions = [0, 99, 124, 156, 257, *(draw.randrange(len(content)) for _ in range(40))]
    for position in positions:
        file.write_bytes(
            content[:position] + bytes([content[position] ^ (1 << draw.randrange(8))]) + content[position + 1 :]
        )
        other = Store(tmp_path / str(position))
        try:
            import_run(other, file)
        except KdprobeError:
            refused += 1
            assert not other.root.exists()
        else:
            assert held(other.root) == expected
    assert refused > 20


def killed_after(calls, root, archive):
    """Imports in a fork that is killed after a number of writing calls, or ends; returns its exit status."""
    from kdprobe.experiment.archive import read

    def dying(real):
        def call(*arguments):
            nonlocal calls
            calls -= 1
            if not calls:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        return call

    child = os.fork()
    if not child:
        try:
            for name in ("sync", "_extract", "_put_in_place", "_put_record", "verify", "write_whole"):
                setattr(read, name, dying(getattr(read, name)))
            read.import_run(Store(root), archive)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_killed_import_leaves_whole_stages_and_the_same_command_goes_on(store, archive, tmp_path):
    expected = held(store.root)
    for calls in range(1, 30):
        root = tmp_path / str(calls)
        if (status := killed_after(calls, root, archive)) == 0:
            break
        assert status == -9
        reached = {name: data for name, data in held(root).items() if not name.startswith("making/")}
        assert reached.items() <= expected.items()
        for folder in root.glob("stages/*/*"):
            Store(root).checks.whole(folder)
        import_run(Store(root), archive)
        assert held(root) == expected
    assert calls > 10
