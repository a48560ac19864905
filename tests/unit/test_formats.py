"""Files of answers in the formats and encodings that other tools write, and the errors for all others."""

import bz2
import gzip
import json
import lzma

import pandas as pd
import pyarrow as pa
import pytest

from kdprobe.comparison.answers import read_outputs
from kdprobe.errors import KdprobeError, UsageError

ROWS = [
    {"id": "a", "response": "It is 7", "gold": "7"},
    {"id": "b", "response": "caf\u00e9: \u00a38,\nso 8", "gold": "8"},
    {"id": "c", "response": "", "gold": "9"},
]


def zst(data):
    return pa.Codec("zstd").compress(data, asbytes=True)


COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zst}
LAYOUTS = {
    "csv": lambda: pd.DataFrame(ROWS).to_csv(index=False),
    "tsv": lambda: pd.DataFrame(ROWS).to_csv(index=False, sep="\t"),
    "txt": lambda: pd.DataFrame(ROWS).to_csv(index=False, sep="\t"),
    "json": lambda: json.dumps(ROWS),
    "jsonl": lambda: "".join(json.dumps(row) + "\n" for row in ROWS),
    "ndjson": lambda: "\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
}
LAID_OUT = {
    "semicolons.csv": lambda: pd.DataFrame(ROWS).to_csv(index=False, sep=";"),
    "tabs.csv": lambda: pd.DataFrame(ROWS).to_csv(index=False, sep="\t"),
    "bars.txt": lambda: pd.DataFrame(ROWS).to_csv(index=False, sep="|"),
    "commas.tsv": lambda: pd.DataFrame(ROWS).to_csv(index=False),
    "spreadsheet.csv": lambda: "sep=;\n" + pd.DataFrame(ROWS).to_csv(index=False, sep=";"),
    "old-mac.csv": lambda: pd.DataFrame(ROWS[:1]).to_csv(index=False, lineterminator="\r"),
    "gaps.csv": lambda: "\n\n" + pd.DataFrame(ROWS).to_csv(index=False).replace("c,", "\n,,\nc,"),
    "indented.json": lambda: json.dumps(ROWS, indent=2),
    "indented.jsonl": lambda: "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "array.jsonl": lambda: json.dumps(ROWS),
    "lines.json": lambda: "\n".join(map(json.dumps, ROWS)),
    "lines.txt": lambda: "\n".join(map(json.dumps, ROWS)),
    "inside.json": lambda: json.dumps({"model": "m", "samples": ROWS}),
    "columns.json": lambda: json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}),
    "pandas.json": lambda: pd.DataFrame(ROWS).to_json(),
    # As many rows as columns, so that the three lists are of one length.
    "pandas-split.json": lambda: pd.DataFrame(ROWS).to_json(orient="split"),
    "pandas-split-bare.json": lambda: pd.DataFrame(ROWS).to_json(orient="split", index=False),
    "pandas-index.json": lambda: pd.DataFrame(ROWS).to_json(orient="index"),
    "pandas-table.json": lambda: pd.DataFrame(ROWS).to_json(orient="table", index=False),
    "pandas-records.json": lambda: pd.DataFrame(ROWS).to_json(orient="records"),
    "split.CSV": lambda: pd.DataFrame(ROWS).to_csv(index=False),
}


def written(folder, name, data):
    file = folder / name
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return file


def check(file, rows=ROWS, **known):
    outputs = read_outputs(file, **known)
    assert outputs.responses == [row["response"] for row in rows]
    assert outputs.gold == [row["gold"] for row in rows]
    assert outputs.ids == [row["id"] for row in rows]
    assert outputs.columns == {"response": "response", "gold": "gold", "id": "id"}
    return outputs


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_format_is_read_alike_however_compressed(kind, ending, tmp_path):
    file = written(tmp_path, f"answers.{kind}{ending}", COMPRESS[ending](LAYOUTS[kind]().encode()))
    assert check(file).notes == ()


@pytest.mark.parametrize("name", LAID_OUT)
def test_what_is_in_a_file_decides_not_its_name(name, tmp_path):
    data = LAID_OUT[name]()
    check(written(tmp_path, name, data), ROWS[:1] if name.startswith("old") else ROWS)


def test_a_compressed_file_is_known_by_its_first_bytes(tmp_path):
    check(written(tmp_path, "answers.csv", gzip.compress(LAYOUTS["csv"]().encode())))


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8-sig", None),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16-LE"),
        ("utf-16-be", "UTF-16-BE"),
        ("utf-32", "UTF-32"),
        ("cp1252", "Windows-1252"),
        ("latin-1", "Windows-1252"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_encodings_are_found_out_and_named(kind, encoding, note, tmp_path):
    file = written(tmp_path, f"answers.{kind}", LAYOUTS[kind]().encode(encoding))
    outputs = check(file)
    assert len(outputs.notes) == (note is not None)
    assert note is None or note in outputs.notes[0]
    check(file, encoding="utf-8" if encoding == "utf-8-sig" else encoding)


def test_latin_1_is_read_where_bytes_are_not_of_windows_1252(tmp_path):
    file = written(tmp_path, "a.csv", "id,response,gold\na,caf\u00e9 \u0081 7,7\n".encode("latin-1"))
    outputs = read_outputs(file)
    assert outputs.responses == ["caf\u00e9 \u0081 7"]
    assert "Latin-1" in outputs.notes[0]


def test_utf_16_without_a_mark_is_known_in_any_script(tmp_path):
    text = "id,response,gold\n" + "".join(f"{n},{chr(0x7B54) * 60}{n},{n}\n" for n in range(99))
    for encoding in ("utf-16-le", "utf-16-be"):
        outputs = read_outputs(written(tmp_path, "a.csv", text.encode(encoding)))
        assert outputs.responses[7] == "\u7b54" * 60 + "7"
        assert encoding.upper() in outputs.notes[0]


def test_a_named_encoding_wins(tmp_path):
    file = written(tmp_path, "a.csv", "id,response,gold\na,\u7b54\u6848\u662f 7,7\n".encode("gb18030"))
    assert read_outputs(file, encoding="gb18030").responses == ["\u7b54\u6848\u662f 7"]
    with pytest.raises(KdprobeError, match=r"line 2: the bytes cannot be decoded; the file is not UTF-8.*--encoding"):
        read_outputs(file)
    with pytest.raises(KdprobeError, match=r"line 2: the bytes are not valid ascii"):
        read_outputs(file, encoding="ascii")
    with pytest.raises(UsageError, match="Unknown encoding 'klingon'"):
        read_outputs(file, encoding="klingon")


def test_a_file_with_one_broken_byte_is_not_taken_for_another_encoding(tmp_path):
    text = "id,response,gold\na,\u22127,-7\nb,8,8\n".encode() + b"c,\xff9,9\n"
    with pytest.raises(KdprobeError, match=r"a\.csv, line 4: .*most of the file is UTF-8"):
        read_outputs(written(tmp_path, "a.csv", text))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", "id,response,gold\na,7\n", "line 2 has 2 cells, but the header has 3"),
        ("a.csv", 'id,response,gold\na,"7\n\n",7\nb,1,2,3\n', "line 5 has 4 cells"),
        ("a.csv", 'id,response,gold\na,7,7\nb,"8,8\nc,9,9\n', "begins on line 3, a quote is not closed"),
        ("a.csv", 'id,response,gold\na,"7"x,7\n', "begins on line 2, quotes do not match"),
        ("a.csv", "gold,response,gold\na,7,7\n", "2 columns are called 'gold'"),
        (
            "a.csv",
            'id,response,gold\na,"7\n7",7\nb,8,\n',
            r"a\.csv, line 4, row 2: .* has no gold value",
        ),
        ("a.csv", "", "it is empty"),
        ("a.jsonl", '{"response": "7", "gold": "7"}\n\n{"response": 8\n', "line 3 is not valid JSON: .* on line 4"),
        ("a.jsonl", '{"response": "7", "gold": "7"}\n{"response": "8', "line 2 is not valid JSON: Unterminated"),
        (
            "a.jsonl",
            '{"response": "7", "gold": "7"}\n\n{"response": "8", "gold": null}\n',
            "line 3, row 2: .* has no gold value",
        ),
        (
            "a.json",
            '[{"response": "7", "gold": "7"}\n {"response": "7"}]',
            "line 2 is not valid JSON: expected a comma or the end of the array",
        ),
        ("a.json", '[{"response": "7", "gold": "7"}]\n[]', "line 2 is not valid JSON: unexpected content after"),
        ("a.json", '[{"response": "7", "gold": "7"},\n 8]', "line 2 is not a JSON object"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        (
            "a.json",
            '{"columns": ["response", "gold"], "data": [["7", "7"], ["8"]]}',
            "row 2 of its 'data' does not have",
        ),
        ("a.json", '{"columns": ["gold", "gold"], "data": [["7", "7"]]}', "two columns are called 'gold'"),
        ("a.json", '{"columns": "gold", "data": []}', "its 'columns' and 'data' are not lists"),
        ("a.json", "[]", "has no answers"),
        ("a.json", '{"results": {"gsm8k": {"acc": 1}}, "config": {}}', "is recognised as the responses"),
        ("a.csv.gz", gzip.compress(b"id,response,gold\na,7,7\n" * 99, mtime=0)[:-9], "cannot be read"),
        ("a.csv.xz", lzma.compress(b"id,response,gold\na,7,7\n" * 99)[:-30], "cannot be read"),
        ("a.csv.zst", zst(b"id,response,gold\na,7,7\n" * 99)[:-9], "cannot be read"),
        ("a.csv.gz", b"\x1f\x8b\x08" + b"x" * 99, "cannot be read"),
        ("a.csv.bz2", "id,response,gold\na,7,7\n", "its name ends in .bz2, but it is not compressed that way"),
        ("a.csv", b"PK\x03\x04" + b"x" * 99, "it is a zip archive"),
        ("a.txt", "7", "neither JSON nor a table"),
        ("a.xlsx", "PK", "is not supported"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_files_own_line(name, data, words, tmp_path):
    with pytest.raises(KdprobeError, match=words):
        read_outputs(written(tmp_path, name, data))


def test_a_json_value_longer_than_what_is_read_at_once_is_read_whole(tmp_path):
    rows = [{"id": "a", "response": "x\n" * 2**20 + "7", "gold": "7"}, *ROWS]
    check(written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))), rows)
    broken = written(tmp_path, "b.jsonl", "\n".join(map(json.dumps, rows)) + "\n{'id': 1}")
    with pytest.raises(KdprobeError, match="line 5 is not valid JSON: Expecting property name"):
        read_outputs(broken)


def test_numbers_and_gaps_in_parquet_are_text(tmp_path):
    file = tmp_path / "a.parquet"
    pd.DataFrame({"id": [1.0, 2.0], "response": [7, 8], "gold": [7.0, 9.5], "tokens": [3, 4]}).to_parquet(file)
    outputs = read_outputs(file)
    assert (outputs.ids, outputs.responses, outputs.gold) == (["1", "2"], ["7", "8"], ["7.0", "9.5"])
    assert outputs.tokens == [3, 4]


def test_columns_that_only_add_something_never_stop_the_reading(tmp_path):
    rows = [{"response": "7", "gold": "7", "tokens": [1, 2], "cut_off": {"x": 1}, "group": ["g"], "prompt": {"q": 1}}]
    outputs = read_outputs(written(tmp_path, "a.jsonl", json.dumps(rows)))
    assert outputs.tokens is outputs.cut_off is outputs.groups is None
    assert outputs.questions == ['{"q": 1}']
    texts = read_outputs(written(tmp_path, "a.csv", "response,gold,tokens\n7,7,many\n"))
    assert texts.tokens is None
    assert texts.notes == ("The column 'tokens' is ignored: not every cell is a number.",)


def test_the_note_of_an_encoding_reaches_both_outputs(tmp_path, run_cli):
    file = written(tmp_path, "answers.csv", LAYOUTS["csv"]().encode("utf-16"))
    (score,) = json.loads(run_cli("score", file, "--json"))
    assert score["notes"] == ["Read as UTF-16."]
    assert (score["correct"], score["n"]) == (2, 3)
    assert "Read as UTF-16." in " ".join(run_cli("score", file).split())
    data = json.loads(run_cli("compare", file, written(tmp_path, "b.csv", LAYOUTS["csv"]()), "--json"))
    assert [arm["notes"] for arm in data["arms"]] == [["Read as UTF-16."], []]
    (named,) = json.loads(run_cli("score", file, "--encoding", "utf-16", "--json"))
    assert (named["correct"], named["notes"]) == (2, [])


@pytest.mark.parametrize("name", ["tokens", "thinking_tokens"])
@pytest.mark.parametrize("count", ["inf", "nan", "-inf"])
def test_counts_that_are_not_finite_are_ignored_with_a_note(name, count, tmp_path):
    file = written(tmp_path, "a.csv", f"id,response,gold,{name}\na,7,7,{count}\nb,7,7,3\n")
    outputs = read_outputs(file)
    assert getattr(outputs, name) is None
    assert outputs.notes[-1].startswith(f"The column {name!r} is ignored: not every cell is a")
