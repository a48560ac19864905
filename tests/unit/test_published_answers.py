"""The numbers of the case study are those of the files."""

import os
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("KDPROBE_TEST_DATA", "/nowhere"))


@pytest.mark.skipif(not DATA.is_dir(), reason="KDPROBE_TEST_DATA names no folder with the real answers")
def test_every_table_of_the_page_is_what_the_script_prints():
    script = runpy.run_path(str(ROOT / "examples" / "published_answers.py"))
    page = (ROOT / "docs" / "explanation" / "published-answers.md").read_text(encoding="utf-8")
    tables = list(script["tables"](DATA / "paper" / "generations"))
    assert [table for table in page.split("\n\n") if table.startswith("|")] == tables
    assert "152 (11.5%" in tables[0]
    # What the prose says beside the tables.
    assert "| `published` | `none` - `ground_truth` | -17.2 |" in tables[3]
    assert "| `flexible` | `none` - `ground_truth` | -3.4 |" in tables[3]
    assert "98.1%" in tables[4]
    assert "93.3%" in tables[4]
