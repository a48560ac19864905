"""Valid files of every format that is read from outside, changed at random: each is read, or refused in a sentence."""

import gzip
import io
import json
import os
import random
import tomllib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_models import put

from kdprobe.comparison.answers import read_outputs
from kdprobe.comparison.claims import read_claims
from kdprobe.comparison.scoring import scores
from kdprobe.errors import KdprobeError
from kdprobe.experiment.config import EMBEDDED
from kdprobe.experiment.load_config import load_experiment
from kdprobe.host.registry import Host
from kdprobe.models.adapters import resolve_adapter
from kdprobe.models.merging.files import adapter_config, adapter_tensors, read_ends
from kdprobe.models.reference import resolve
from kdprobe.probing.patterns.files import read_patterns
from kdprobe.problems.sources.jsonl import read
from kdprobe.testing.models import write_random_adapter

EACH = 100_000 // 15 if os.environ.get("KDPROBE_ALL_FAULTS") else 60
"""Mutations of each file; a hundred thousand together where all faults are tried."""
PIECES = [b"", b"\x00", b"\xff\xfe", b'"', b"{", b"[", b"]" * 50, b"," * 50, b"\r", b"null", b"NaN", b"1e999999999"]
PIECES += [
    b"-1",
    b"9" * 5_000,
    b"[" * 5_000,
    b"\\ud800",
    "é".encode("latin-1"),
    b"\xef\xbb\xbf",
    b"true",
    b"{}",
    b"[[1]]",
]
HOST = Host()
ROWS = [
    {"id": f"p{index}", "question": f"What is {index} + 1?", "response": f"#### {index}", "answer": f"#### {index + 1}"}
    for index in range(6)
]
SAMPLES = [
    {"doc_id": index, "doc": row, "target": row["answer"], "arguments": {"gen_args_0": {"arg_0": row["question"]}},
     "resps": [[row["response"]]], "filtered_resps": ["1"], "filter": "none", "metrics": ["exact_match"],
     "exact_match": 1.0, "doc_hash": "a", "prompt_hash": "b"}
    for index, row in enumerate(ROWS)
]  # fmt: skip


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet():
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), stream)
    return stream.getvalue()


def arrays(save):
    stream = io.BytesIO()
    save(stream, np.full((2, 2, 3, 3), 1 / 3, np.float32))
    return stream.getvalue()


def scored(file):
    scores(read_outputs(file), {"robust": HOST.create("extractors", "robust")})


def adapter(file):
    resolve_adapter(str(file.parent))
    adapter_config(file.parent)
    adapter_tensors(file.parent)
    read_ends(file.parent)


def csv_of(rows):
    return "\n".join([",".join(rows[0]), *(",".join(f'"{cell}"' for cell in row.values()) for row in rows)]).encode()


FORMATS = {
    "a.csv": (lambda _: csv_of(ROWS), scored),
    "a.jsonl": (lambda _: lines(ROWS), scored),
    "a.json": (lambda _: json.dumps(ROWS).encode(), scored),
    "a.jsonl.gz": (lambda _: gzip.compress(lines(ROWS)), scored),
    "a.parquet": (lambda _: parquet(), scored),
    "samples_a.jsonl": (lambda _: lines(SAMPLES), scored),
    "claims.csv": (lambda _: b"arm,accuracy,correct,n\na,50.0,3,6\nb,33.3,2,6\n", read_claims),
    "problems.jsonl": (lambda _: lines(ROWS), lambda file: list(read(file))),
    "a.npy": (lambda _: arrays(np.save), lambda file: read_patterns([str(file)])),
    "a.npz": (lambda _: arrays(np.savez), lambda file: read_patterns([str(file)])),
    "config.toml": (lambda _: EMBEDDED.read_bytes(), lambda file: load_experiment(file, HOST)),
    "config.json": (lambda sound: (sound / "config.json").read_bytes(), lambda file: resolve(str(file.parent))),
    "adapter_config.json": (lambda sound: (sound / "adapter" / "adapter_config.json").read_bytes(), adapter),
    "adapter_model.safetensors": (lambda sound: (sound / "adapter/adapter_model.safetensors").read_bytes(), adapter),
    "kdprobe.json": (lambda _: b'{"end_ids": [1, 2]}', adapter),
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tiny_model, tmp_path_factory):
    """A folder with a model's files, and an adapter in it; whatever is read of a format lies beside sound files."""
    import shutil

    folder = tmp_path_factory.mktemp("mutated") / "sound"
    shutil.copytree(tiny_model, folder)
    write_random_adapter(tiny_model, folder / "adapter")
    put(folder / "adapter" / "kdprobe.json", '{"end_ids": [1, 2]}')
    return folder


def mutated(content, chance):
    """The content with one to four pieces cut out, doubled, moved or replaced."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(changed) + 1)
        stop = min(len(changed), start + chance.choice([0, 1, 1, 4, 40, len(changed)]))
        piece = chance.choice([chance.choice(PIECES), bytes([chance.randrange(256)]), bytes(changed[start:stop]) * 2])
        changed[start:stop] = piece
    return bytes(changed)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_but_a_sentence_comes_of_a_changed_file(name, sound, monkeypatch):
    make, reader = FORMATS[name]
    inside = sound / "adapter" if "adapter" in name or name == "kdprobe.json" else sound
    file, chance = inside / name, random.Random(name)
    before = file.read_bytes() if file.exists() else None
    content = make(sound)
    refused = 0
    try:
        for _ in range(EACH):
            changed = mutated(content, chance)
            put(file, changed)
            try:
                reader(file)
            except KdprobeError:
                refused += 1
            except Exception as error:
                error.add_note(f"The file: {changed[:3000]!r}")
                raise
    finally:
        put(file, before)
    assert refused


def test_the_files_are_read_as_they_are(sound):
    assert tomllib.loads(EMBEDDED.read_text())
    for name, (make, reader) in FORMATS.items():
        inside = sound / "adapter" if "adapter" in name or name == "kdprobe.json" else sound
        before = (inside / name).read_bytes() if (inside / name).exists() else None
        put(inside / name, make(sound))
        reader(inside / name)
        put(inside / name, before)
