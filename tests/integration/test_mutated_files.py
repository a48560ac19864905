"""Valid files of every external format, randomly mutated: each is read, or rejected with a one-sentence error."""

import gzip
import hashlib
import io
import json
import random
import shutil
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdprobe.comparison.answers import read_outputs
from kdprobe.comparison.claims import read_claims
from kdprobe.comparison.scoring import scores
from kdprobe.errors import KdprobeError
from kdprobe.experiment.config import EMBEDDED
from kdprobe.experiment.load_config import load_experiment
from kdprobe.files import UnreadableError
from kdprobe.host.registry import Host
from kdprobe.models.adapters import resolve_adapter
from kdprobe.models.merging.files import adapter_config, adapter_tensors, read_ends
from kdprobe.models.reference import resolve
from kdprobe.probing.patterns.files import read_patterns
from kdprobe.problems.sources.jsonl import read
from kdprobe.testing.models import write_random_adapter
from kdprobe.transfer.rows_file import RowsFile, footer_digest
from kdprobe.transfer.rows_writer import DICTIONARY, GROUPS
from kdprobe.transfer.transfer_set import MANIFEST, write
from kdprobe.transfer.transfer_set import ROWS as RESPONSES
from kdprobe.transfer.transfer_set import read as read_transfer_set
from mutation import ALL, TOGETHER, mutated, mutated_json, mutated_table
from served_replies import chat_by_lm_eval, chat_completion, completions, read_by_teacher, texts_by_lm_eval

HOST = Host()
LOGS = Path(__file__).parents[1] / "data" / "tool_logs"
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
SPLIT = {"columns": list(ROWS[0]), "index": list(range(6)), "data": [list(row.values()) for row in ROWS]}
REPLIES = [
    {"id": index, "answer": row["answer"], "response": {"choices": [{"finish_reason": "length", "text": "#### 7"}]}}
    for index, row in enumerate(ROWS)
]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(table):
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def arrays(save):
    stream = io.BytesIO()
    save(stream, np.full((2, 2, 3, 3), 1 / 3, np.float32))
    return stream.getvalue()


def csv_of(rows):
    return "\n".join([",".join(rows[0]), *(",".join(f'"{cell}"' for cell in row.values()) for row in rows)]).encode()


def other_rows(content, chance):
    """A transfer set's rows, as bytes or as a table with valid checksums, with changes."""
    if chance.random() < 0.5:
        return mutated(content, chance)
    known = pq.ParquetFile(io.BytesIO(content)).metadata.metadata
    table, stream = mutated_table(pq.read_table(io.BytesIO(content)), chance), io.BytesIO()
    with pq.ParquetWriter(stream, table.schema) as writer:
        writer.write_table(table)
        groups = {"vocabulary": json.loads(known[GROUPS.encode()])["vocabulary"]}
        groups["ends"] = [[stream.tell(), hashlib.sha256(stream.getvalue()).hexdigest()]]
        dictionary = known[DICTIONARY.encode()]
        dictionary = mutated(dictionary, chance) if chance.random() < 0.2 else dictionary
        writer.add_key_value_metadata({GROUPS: json.dumps(groups), DICTIONARY: dictionary})
    return stream.getvalue()


def log(name):
    """A file written by another tool."""
    return lambda _: (LOGS / name).read_bytes()


def zipped_log(_):
    """An inspect_ai log as an archive whose members Python can change."""
    header = json.loads((LOGS / "sums.json").read_bytes())
    samples = {f"samples/{sample['id']}_epoch_1.json": sample for sample in header.pop("samples")}
    return archived({name: json.dumps(member) for name, member in {"header.json": header, **samples}.items()})


def archived(contents):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return stream.getvalue()


def other_member(content, chance):
    """An archive in which bytes or a member are changed, or a member is missing or renamed."""
    if chance.random() < 0.3:
        return mutated(content, chance)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(list(contents))
    changed = mutated_json(contents.pop(name), chance)
    return archived(contents | {chance.choice([name] * 9 + ["samples/../x_epoch_1.json", "x"]): changed})


def details(_):
    """Details of lighteval as JSON, in which single values can be changed."""
    return json.dumps(pq.read_table(LOGS / "lighteval_mixed.parquet").to_pylist()).encode()


def scored(file):
    scores(read_outputs(file), {"robust": HOST.create("extractors", "robust")})


def adapter(file):
    resolve_adapter(str(file.parent))
    adapter_config(file.parent)
    adapter_tensors(file.parent)
    read_ends(file.parent)


def transfer_rows(file):
    """Read with a matching manifest, so that more than their checksum is checked."""
    written = (file.parent / MANIFEST).read_bytes()
    try:
        checksum = footer_digest(file)
    except (UnreadableError, OSError):
        checksum = ""
    put(file.parent / MANIFEST, json.dumps({**json.loads(written), "checksum": checksum}).encode())
    try:
        for response in read_transfer_set(file.parent).responses:
            assert response.rows is None or len(response.rows.ids) == len(response.token_ids)
    finally:
        put(file.parent / MANIFEST, written)


def put(file, content):
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content)


def here(name):
    """The file as it is in the valid folder."""
    return lambda sound: (sound / name).read_bytes()


FORMATS = {
    "a.csv": (lambda _: csv_of(ROWS), mutated, scored),
    "a.jsonl": (lambda _: lines(ROWS), mutated, scored),
    "a.json": (lambda _: json.dumps(ROWS).encode(), mutated_json, scored),
    "a.jsonl.gz": (lambda _: gzip.compress(lines(ROWS)), mutated, scored),
    "a.parquet": (lambda _: parquet(pa.Table.from_pylist(ROWS)), mutated, scored),
    "samples_a.jsonl": (lambda _: lines(SAMPLES), mutated, scored),
    "zstd.eval": (log("sums.eval"), mutated, scored),
    "stored.eval": (zipped_log, other_member, scored),
    "log.json": (log("sums.json"), mutated_json, scored),
    "details.parquet": (log("lighteval_mixed.parquet"), mutated, scored),
    "details.json": (details, mutated_json, scored),
    "split.json": (lambda _: json.dumps(SPLIT).encode(), mutated_json, scored),
    "replies.json": (lambda _: json.dumps(REPLIES).encode(), mutated_json, scored),
    "claims.csv": (lambda _: b"arm,accuracy,correct,n\na,50.0,3,6\nb,33.3,2,6\n", mutated, read_claims),
    "problems.jsonl": (lambda _: lines(ROWS), mutated, lambda file: list(read(file))),
    "a.npy": (lambda _: arrays(np.save), mutated, lambda file: read_patterns([str(file)])),
    "a.npz": (lambda _: arrays(np.savez), mutated, lambda file: read_patterns([str(file)])),
    "config.toml": (lambda _: EMBEDDED.read_bytes(), mutated, lambda file: load_experiment(file, HOST)),
    "config.json": (here("config.json"), mutated_json, lambda file: resolve(str(file.parent))),
    "adapter/adapter_config.json": (here("adapter/adapter_config.json"), mutated_json, adapter),
    "adapter/adapter_model.safetensors": (here("adapter/adapter_model.safetensors"), mutated, adapter),
    "adapter/kdprobe.json": (lambda _: b'{"end_ids": [1, 2]}', mutated_json, adapter),
    f"transfer/{MANIFEST}": (here(f"transfer/{MANIFEST}"), mutated_json, lambda file: read_transfer_set(file.parent)),
    f"transfer/{RESPONSES}": (here(f"transfer/{RESPONSES}"), other_rows, transfer_rows),
    "replies/teacher.json": (chat_completion, mutated_json, read_by_teacher),
    "replies/chat.json": (chat_completion, mutated_json, chat_by_lm_eval),
    "replies/texts.json": (completions, mutated_json, texts_by_lm_eval),
}  # fmt: skip
"""The name of a file in a valid folder, mapped to how it is made, changed and read."""
EACH = TOGETHER // len(FORMATS) + 1 if ALL else 60


@pytest.fixture(scope="module")
def sound(tiny_model, transfer_set, tmp_path_factory):
    """A folder with a model's files, an adapter and a transfer set, so that a changed file is next to valid ones."""
    folder = tmp_path_factory.mktemp("mutated") / "sound"
    shutil.copytree(tiny_model, folder)
    write_random_adapter(tiny_model, folder / "adapter")
    put(folder / "adapter" / "kdprobe.json", b'{"end_ids": [1, 2]}')
    (folder / "replies").mkdir()
    (folder / "transfer").mkdir()
    write(transfer_set, folder / "transfer")
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_but_a_sentence_comes_of_a_changed_file(name, sound):
    make, change, reader = FORMATS[name]
    file, chance = sound / name, random.Random(name)
    before = file.read_bytes() if file.exists() else None
    content = make(sound)
    refused = 0
    try:
        for _ in range(EACH):
            changed = change(content, chance)
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
    assert RowsFile(sound / "transfer" / RESPONSES).response(0, distributions=True).rows is not None
    for name, (make, _, reader) in FORMATS.items():
        before = (sound / name).read_bytes() if (sound / name).exists() else None
        put(sound / name, make(sound))
        reader(sound / name)
        put(sound / name, before)
