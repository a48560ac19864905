"""A store and its ledgers, with a fault at each of their operations on files in turn; run as a script.

The operations are those that Python reports to audit hooks, and `os.fsync`. After each fault the same work is done
again by another process, without one: the store must then hold the same, and nothing else.
"""

import errno
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from kdprobe.errors import KdprobeError
from kdprobe.evaluation.ledger import Ledger
from kdprobe.experiment.integrity import upkeep
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.store import Store
from kdprobe.files import read_json, write_json, write_sealed

FAULTS = {"kill": None, "ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES}
_EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.scandir"}
_REMOVED = ("seconds", "resumed", "checksum")


def stages():
    """Two stages that write as real ones do: batch by batch into a ledger, then a file that the next one reads."""

    def answer(folder, _inputs, scratch):
        ledger = Ledger(scratch / "answers.jsonl")
        for batch in ("a", "b", "c"):
            if batch not in ledger:
                ledger.add({batch: batch * 3})
        (folder / "inner").mkdir()
        write_json(folder / "inner" / "answers.json", {batch: ledger[batch] for batch in "abc"})

    def read(folder, inputs, _scratch):
        write_json(folder / "read.json", read_json(inputs[0] / "inner" / "answers.json"))

    first = Stage("transfer", "first", {"x": 1}, (), answer)
    return first, Stage("evaluate", "second", {"x": 2}, (first,), read)


def command(root):
    """What a run does to its store."""
    store = Store(root)
    store.prepare()
    for stage in stages():
        store.make(stage)
    folder = store.run_folder("run")
    folder.mkdir(exist_ok=True)
    write_sealed(folder / "run.json", {"stages": [stage.key for stage in stages()]})


def contents(root):
    """Every file below the root with its content, without what differs from run to run."""
    found = {}
    for file in sorted(root.rglob("*")):
        if file.is_file():
            text = file.read_text()
            data = json.loads(text) if file.suffix == ".json" else text
            if isinstance(data, dict):
                data = {name: value for name, value in data.items() if name not in _REMOVED}
            found[file.relative_to(root).as_posix()] = data
    return found


class Faulty:
    """Counts the operations below a folder, and lets one of them fail.

    Args:
        root: The folder.
        at: Which operation; none with 0.
        kind: How.
    """

    def __init__(self, root, at, kind):
        self.root, self.at, self.kind, self.count = str(root), at, kind, 0
        sync = os.fsync
        sys.addaudithook(self.audit)

        def fsync(descriptor):
            self.step(f"descriptor {descriptor}")
            sync(descriptor)

        os.fsync = fsync

    def audit(self, event, arguments):
        paths = [str(part) for part in arguments if isinstance(part, str | Path)]
        if event in _EVENTS and any(path.startswith(self.root) for path in paths):
            self.step(paths[0])

    def step(self, path):
        self.count += 1
        if self.count == self.at:
            if self.kind == "kill":
                os._exit(99)
            number = FAULTS[self.kind]
            raise OSError(number, os.strerror(number), path)


def in_fork(root, at=0, kind="", *, later=False):
    """Runs the command in a fork; returns its exit code and how many operations it did."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        if later:
            upkeep._ABANDONED_SECONDS = -1
        faulty = Faulty(root, at, kind)
        code = 0
        try:
            command(root)
        except (OSError, KdprobeError):
            code = 1
        except Exception:  # noqa: BLE001 - a bug, which the parent reports
            code = 2
        os.write(writing, str(faulty.count).encode())
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as stream:
        count = stream.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(count or 0)


def main(step):
    """Tries every n-th operation with every fault; prints what went wrong as JSON."""
    base = Path(tempfile.mkdtemp()).resolve()
    code, operations = in_fork(base / "sound")
    assert code == 0
    expected = contents(base / "sound")
    wrong, tried = [], 0
    for place, kind in enumerate(FAULTS):
        for at in range(1 + place % step, operations + 1, step):
            tried += 1
            root = base / "store"
            code, _ = in_fork(root, at, kind)
            again, _ = in_fork(root, later=True)
            found = contents(root)
            aside = {name for name in found if name.startswith("aside/")}
            same = {name: data for name, data in found.items() if name not in aside} == expected
            # What cannot be read is moved aside, and said to be.
            if code not in {0, 1, 99} or again != 0 or not same or (aside and kind in {"kill", "ENOSPC"}):
                wrong.append([kind, at, code, again, sorted(found.keys() ^ expected.keys())])
            shutil.rmtree(root)
    shutil.rmtree(base)
    print(json.dumps({"operations": operations, "tried": tried, "wrong": wrong}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
