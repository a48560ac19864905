"""How a page shows attention on one problem."""

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from kdprobe.probing.attention.strongest import _columns, _joined, _placed, _strongest, _whole  # noqa: E402
from kdprobe.probing.tables import write_tables  # noqa: E402
from kdprobe.report.payload.attention import shown_attention  # noqa: E402

PATTERN = torch.tensor(
    [
        [
            [1.0, 0, 0, 0, 0],
            [0.5, 0.5, 0, 0, 0],
            [0.2, 0.5, 0.3, 0, 0],
            [0.1, 0.2, 0.3, 0.4, 0],
            [0.3, 0.05, 0.15, 0.1, 0.4],
        ]
    ]
)


def test_the_strongest_keys_of_each_query_are_kept_and_the_rest_is_stated():
    table = _strongest(PATTERN)
    assert list(table.columns) == ["head", "query", *_columns(4), "rest"]
    last = table.iloc[4]
    assert [last[f"key_{n}"] for n in (1, 2, 3, 4)] == [4, 0, 2, 3]
    np.testing.assert_allclose([last[f"weight_{n}"] for n in (1, 2, 3, 4)], [0.4, 0.3, 0.15, 0.1], rtol=1e-6)
    assert last["rest"] == pytest.approx(0.05, abs=1e-6)
    # The first query sees one key only.
    assert table.iloc[0][["key_1", "key_2", "weight_1", "rest"]].tolist() == [0, -1, 1, 0]


def test_a_learned_sinks_share_is_no_keys():
    assert _strongest(PATTERN / 2)["rest"].iloc[4] == pytest.approx(0.025, abs=1e-6)


def test_the_page_has_them_in_order_of_layer_head_query_and_student():
    frames = [_placed(_strongest(pattern), ["b", "a"], i, 0) for i, pattern in enumerate((PATTERN, PATTERN.flip(-1)))]
    whole = pd.concat([_placed(_whole(PATTERN, 0), ["b", "a"], index, 0) for index in range(2)])
    tokens = pd.DataFrame({"problem": "p", "position": range(5), "token": list("vwxyz")})
    shown = shown_attention({"strongest_keys": pd.concat(frames), "whole_attention": whole, "tokens": tokens})
    assert (shown["students"], shown["tokens"], shown["problem"]) == (["b", "a"], list("vwxyz"), "p")
    # The last query: of the first student, then of the second, whose keys are mirrored.
    assert shown["keys"][-8:] == [4, 0, 2, 3, 0, 4, 2, 1]
    assert [weights[-1] for weights in shown["weights"]] == [40, 30, 15, 10]
    assert shown["rests"][-2:] == [5, 5]
    assert shown["whole"]["0 0"][0][-5:] == [30, 5, 15, 10, 40]


def test_students_with_other_layers_are_not_put_side_by_side():
    frames = [_strongest(PATTERN).assign(student="a", layer=0), _strongest(PATTERN).assign(student="b", layer=1)]
    tokens = pd.DataFrame({"problem": "p", "position": range(5), "token": list("vwxyz")})
    assert shown_attention({"strongest_keys": pd.concat(frames), "tokens": tokens}) is None
    assert shown_attention({"tokens": tokens}) is None


def test_a_row_of_all_attention_takes_few_bytes_and_is_written_with_its_students_name(tmp_path):
    names = ["=a", "'=a", "a student with a long name"]
    pattern = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0)).tril()
    frames = [_placed(_whole(pattern, 1), names, index, 3) for index in range(3)]
    table = _joined(frames, ["student", "layer", "head", "query", "key", "weight"])
    assert table.memory_usage(index=False).sum() <= 17 * len(table) + 500
    write_tables({"whole": table}, tmp_path)
    read = pd.read_parquet(tmp_path / "whole.parquet")
    assert read["student"].astype(str).tolist() == [name for name in names for _ in range(64 * 65 // 2)]
    query, key = np.tril_indices(64)
    np.testing.assert_array_equal(read["weight"], np.tile(pattern[1].numpy()[query, key], 3))
    written = pd.read_csv(tmp_path / "whole.csv")
    # A spreadsheet would take the first for a formula.
    assert written["student"].unique().tolist() == ["'=a", names[2]]
    assert set(written["layer"]) == {3}
    assert set(written["head"]) == {1}
