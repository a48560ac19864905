"""Tables as files: they stay in their folder, and are safe to open in a spreadsheet."""

import numpy as np
import pandas as pd
import pytest

from kdprobe.errors import KdprobeError
from kdprobe.probing.tables import write_tables

TEXTS = {
    "=HYPERLINK(1)": "'=HYPERLINK(1)",
    "+1+1": "'+1+1",
    "-2*3": "'-2*3",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "'\t=1",
    "\r=1": "'\n=1",
    "two\r=rows\r\n": "two\n=rows\n",
    "\n=1": "'\n=1",
    "=1": "'=1",
    "-": "'-",
    "-12": "-12",
    "+3.5e-4": "+3.5e-4",
    "5 - 3 = 2": "5 - 3 = 2",
    "": "",
}


def test_no_text_is_a_formula_and_no_number_is_touched(tmp_path):
    table = pd.DataFrame(
        {"=answer": list(TEXTS), "value": -1.5, "flag": pd.array([None] * len(TEXTS), dtype="boolean")}
    )
    write_tables({"answers": table}, tmp_path)
    read = pd.read_csv(tmp_path / "answers.csv", dtype=str, keep_default_na=False)
    assert list(read) == ["'=answer", "value", "flag"]
    assert list(read["'=answer"]) == list(TEXTS.values())
    assert set(read["value"]) == {"-1.5"}
    assert set(read["flag"]) == {""}
    # Programs read Parquet, which holds what was written.
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "answers.parquet"), table)


@pytest.mark.parametrize(
    "name", ["../out", "/tmp/out", "a/b", "..", ".", "", ".hidden", "a\\b", "a\x00", "a b", "-n", "a\n"]
)
def test_a_table_cannot_leave_its_folder(tmp_path, name):
    folder = tmp_path / "inner"
    folder.mkdir()
    with pytest.raises(KdprobeError, match="is not a valid file name"):
        write_tables({"good": pd.DataFrame({"a": [1]}), name: pd.DataFrame({"a": np.zeros(1)})}, folder)
    assert list(tmp_path.rglob("*")) == [folder]


def test_tables_do_not_overwrite_each_other_anywhere(tmp_path):
    with pytest.raises(KdprobeError, match="differ only in case"):
        write_tables({"heads": pd.DataFrame(), "Heads": pd.DataFrame()}, tmp_path)
