"""A transfer set is read back completely, or rejected with one sentence that says what is wrong with it."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kdprobe.errors import KdprobeError
from kdprobe.files import UnreadableError
from kdprobe.teachers.teacher import Response, SparseRows, Thinking
from kdprobe.transfer.codec import Layout, from_table, to_table
from kdprobe.transfer.dictionary import Dictionary
from kdprobe.transfer.rows_file import RowsFile
from kdprobe.transfer.transfer_set import MANIFEST, ROWS, TransferSet, first_answers, read, read_answers, write

ROWS_OF_TWO = SparseRows(
    ids=np.array([[1, 2], [3, 4]], np.int32),
    logprobs=np.log(np.array([[0.5, 0.25], [0.5, 0.25]], np.float32)),
    tail_logmass={1.0: np.log(np.array([0.25, 0.25], np.float32))},
    token_logprobs=np.log(np.array([0.5, 0.5], np.float32)),
)
ANSWERS = [
    Response("p", "7", np.array([1, 3]), finished=True, rows=ROWS_OF_TWO, thinking=Thinking("3 + 4", True, 3)),
    Response("q", "8", np.array([1, 3]), finished=True, rows=ROWS_OF_TWO, finish_reason="stop"),
]


@pytest.fixture
def folder(tmp_path):
    write(TransferSet(tuple(ANSWERS), {"vocabulary": 400, "tokenizer": "t", "strategy": "none"}), tmp_path)
    return tmp_path


def test_it_comes_back(folder):
    back = read(folder)
    assert [response.id for response in back.responses] == ["p", "q"]
    assert back.responses[0].thinking == ANSWERS[0].thinking
    assert back.vocabulary == 400


def test_answers_are_read_without_distributions_and_only_the_first_to_each_problem(tmp_path):
    second = replace(ANSWERS[0], text="9", sample=1)
    write(TransferSet((ANSWERS[0], second, ANSWERS[1]), {"vocabulary": 400, "tokenizer": "t"}), tmp_path)
    answers = first_answers(read_answers(tmp_path), 5)
    assert [(answer.id, answer.text, answer.token_ids.tolist()) for answer in answers] == [
        ("p", "7", [1, 3]),
        ("q", "8", [1, 3]),
    ]
    assert [answer.rows for answer in answers] == [None, None]
    assert answers[0].thinking == ANSWERS[0].thinking
    assert [answer.id for answer in first_answers(read_answers(tmp_path), 1)] == ["p"]


def change(**fields):
    def changed(folder):
        manifest = json.loads((folder / MANIFEST).read_text()) | fields
        known = {name: value for name, value in manifest.items() if value is not None}
        (folder / MANIFEST).write_text(json.dumps(known))

    return changed


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "is not a transfer set: No such file"),
        (lambda folder: (folder / ROWS).unlink(), "is not a transfer set: No such file"),
        (lambda folder: (folder / MANIFEST).write_text("{"), f"damaged: {MANIFEST} is not JSON"),
        (lambda folder: (folder / MANIFEST).write_text("[" * 100_000), f"damaged: {MANIFEST} is not JSON"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), f"damaged: {MANIFEST} is not an object"),
        (change(vocabulary=None), f"damaged: vocabulary in {MANIFEST} is missing or has the wrong type"),
        (change(vocabulary="400"), f"damaged: vocabulary in {MANIFEST} is missing or has the wrong type"),
        (change(format=3), r"has format 3, but this version reads format 4"),
        (change(checksum="0"), f"damaged: {ROWS} does not match {MANIFEST}"),
    ],
)
def test_what_is_damaged_is_named(folder, damage, said):
    damage(folder)
    with pytest.raises(KdprobeError, match=said):
        read(folder)


def test_rows_that_are_no_parquet_are_refused_whatever_the_manifest_says(folder):
    content = b"PAR1 nothing" + (7).to_bytes(4, "little") + b"PAR1"
    (folder / ROWS).write_bytes(content)
    change(checksum=hashlib.sha256(content[-15:]).hexdigest())(folder)
    for reading in (read, read_answers):
        with pytest.raises(KdprobeError, match=f"damaged: {ROWS} is not a Parquet table"):
            reading(folder)


def replaced(name, column):
    return lambda table: table.set_column(table.column_names.index(name), name, column)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda table: table.drop_columns("sample"), "no column sample"),
        (replaced("id", pa.array([1, 2])), "no column id"),
        (replaced("text", pa.array(["7", None])), "no column text"),
        (replaced("token_ids", pa.array([[1, 3], None], pa.large_list(pa.uint16()))), "no column token_ids"),
        (replaced("token_ids", pa.array([[1, 3], [1, None]], pa.large_list(pa.uint16()))), "no column token_ids"),
        (replaced("top_ranks", pa.array([[1.0] * 4] * 2, pa.large_list(pa.float32()))), "no column top_ranks"),
        (replaced("top_ranks", pa.array([[400] * 4] * 2, pa.large_list(pa.uint16()))), "ids beyond its vocabulary"),
        (replaced("top_counts", pa.array([[2, 3], [2, 1]], pa.large_list(pa.uint32()))), "do not match its tokens"),
        (replaced("top_counts", pa.array([[4, 0], [2, 2]], pa.large_list(pa.uint32()))), "do not match its tokens"),
        (lambda table: table.drop_columns("token_logprobs"), "no column token_logprobs"),
        (replaced("token_logprobs", pa.array([[0.5], [0.5]], pa.large_list(pa.float32()))), "do not match its tokens"),
        (replaced("top_ranks", pa.array([[1] * 2, [1] * 6], pa.large_list(pa.uint16()))), "do not match its tokens"),
        (
            lambda table: table.append_column("tail_logmass_0.0", table["tail_logmass_1.0"]),
            "tail without a valid temperature",
        ),
        (
            lambda table: table.append_column("tail_logmass_1.00", table["tail_logmass_1.0"]),
            "tail without a valid temperature",
        ),
        (
            lambda table: table.append_column("tail_logmass_hot", table["tail_logmass_1.0"]),
            "tail without a valid temperature",
        ),
        (lambda table: table.append_column("id", table["id"]), "a duplicate column"),
        (replaced("finish_reason", pa.array([1, 2])), "no column finish_reason"),
        (replaced("prompt_ids", pa.array([["1"], None])), "no column prompt_ids"),
        (lambda table: table.drop_columns("thinking_tokens"), "no column thinking_tokens"),
        (replaced("thinking_closed", pa.array([None, None], pa.bool_())), "incomplete thinking columns"),
    ],
)
def test_another_table_is_none_of_responses(made, said):
    table = to_table(ANSWERS, Layout.of(ANSWERS, 400))
    assert len(from_table(table, Dictionary.empty(400))) == 2
    with pytest.raises(UnreadableError, match=said):
        from_table(made(table), Dictionary.empty(400))


def many(count, tokens=3_000):
    """Answers that fill several groups of rows."""
    random = np.random.default_rng(0)

    def rows():
        return SparseRows(
            ids=random.integers(0, 400, (tokens, 2)).astype(np.int32),
            logprobs=np.full((tokens, 2), -1.0, np.float32),
            tail_logmass={1.0: np.full(tokens, -2.0, np.float32)},
            token_logprobs=np.full(tokens, -1.0, np.float32),
        )

    return [
        Response(f"p{place}", f"text {place}", random.integers(0, 400, tokens), finished=True, rows=rows())
        for place in range(count)
    ]


def test_responses_come_back_in_any_order_and_only_what_is_used_is_checked(tmp_path):
    answers = many(9)
    write(TransferSet(answers, {"vocabulary": 400, "tokenizer": "t"}), tmp_path)
    back = read(tmp_path).responses
    for place in (8, 0, 4, 5, 4):
        assert (back[place].id, back[place].text) == (answers[place].id, answers[place].text)
        np.testing.assert_array_equal(back[place].token_ids, answers[place].token_ids)
        np.testing.assert_array_equal(back[place].rows.ids, answers[place].rows.ids)
        assert back.texts[place].rows is None
    assert [each.id for each in back[2:4]] == ["p2", "p3"]
    groups = RowsFile(tmp_path / ROWS)._ends
    assert len(groups) == 3
    damaged = bytearray((tmp_path / ROWS).read_bytes())
    damaged[groups[0] + 100] ^= 1
    (tmp_path / ROWS).write_bytes(damaged)
    opened = read(tmp_path).responses
    assert (opened[0].id, opened[8].id) == ("p0", "p8")
    for using in (opened, opened.texts):
        with pytest.raises(KdprobeError, match=f"damaged: {ROWS} was changed after it was written"):
            using[4]


def test_a_subset_is_read_like_the_whole(tmp_path):
    answers = many(6, tokens=5)
    answers[4] = replace(answers[4], id="p3", sample=1)
    write(TransferSet(answers, {"vocabulary": 400, "tokenizer": "t"}), tmp_path)
    some = read(tmp_path).only({("p3", 1), ("p1", 0), ("p5", 1)})
    assert [(each.id, each.sample) for each in some.responses] == [("p1", 0), ("p3", 1)]
    assert some.responses.temperatures == (1.0,)
    np.testing.assert_array_equal(some.responses[1].rows.ids, answers[4].rows.ids)
