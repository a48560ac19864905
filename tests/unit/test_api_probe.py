"""`probe` on attention patterns in Python: those of the command, from files and from arrays."""

import numpy as np
import pandas as pd
import pytest

import kdprobe
from kdprobe.errors import KdprobeError, UsageError


def pattern(seed):
    """`[layer, head, query, key]`, causal, rows sum to one."""
    scores = np.random.default_rng(seed).normal(size=(2, 3, 5, 5))
    weights = np.where(np.tri(5, dtype=bool), np.exp(scores), 0)
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def files(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        np.savez(tmp_path / f"{name}.npz", attention=pattern(seed))
    return {name: tmp_path / f"{name}.npz" for name in ("a", "b")}


def test_divergence_of_files_is_that_of_the_command(files, run_cli):
    result = kdprobe.probe(patterns=files, analyses=["divergence"])
    options = [part for name, file in files.items() for part in ("--patterns", f"{name}={file}")]
    assert result.to_json() + "\n" == run_cli("probe", *options, "--analysis", "divergence", "--json")
    table = result.table("jensen_shannon")
    assert len(table) == 2 * 3
    # An independent reference: the mean over queries of the Jensen-Shannon divergence of one head, in nats.
    p, q = (pattern(seed)[1, 2].astype(float) for seed in (0, 1))
    middle = (p + q) / 2

    def kl(x):
        return np.sum(np.where(x > 0, x * np.log(np.where(x > 0, x, 1) / np.where(middle > 0, middle, 1)), 0), axis=-1)

    row = table[(table["layer"] == 1) & (table["head"] == 2)]
    wanted = (kl(p) + kl(q)) / 2
    assert any(row["value"].item() == pytest.approx(each, rel=1e-4) for each in (wanted.mean(), wanted[1:].mean()))


def test_arrays_and_tensors_are_patterns(files, torch):
    read = kdprobe.probe(patterns=files, analyses=["divergence"]).table("jensen_shannon")
    for make in (np.asarray, torch.tensor):
        given = {name: make(pattern(seed)) for name, seed in (("a", 0), ("b", 1))}
        result = kdprobe.probe(patterns=given, analyses=["divergence"])
        pd.testing.assert_frame_equal(result.table("jensen_shannon"), read)
        assert [entry["file"] for entry in result.to_dict()["patterns"]] == [None, None]
    with pytest.raises(UsageError, match="The patterns 'a' are not an array"):
        kdprobe.probe(patterns={"a": torch.ones(1, requires_grad=True)})


def test_an_analysis_is_a_plain_function(files):
    def largest(patterns):
        return pd.DataFrame({"student": [p.name for p in patterns], "largest": [p.pattern.max() for p in patterns]})

    result = kdprobe.probe(patterns=files, analyses=["heads", largest])
    assert result.table("largest")["student"].tolist() == ["a", "b"]
    assert list(result.tables) == ["heads", "largest"]
    # Nothing is kept, so a lambda needs no key.
    named = kdprobe.probe(
        patterns=files, analyses={"sizes": lambda patterns: {"size": pd.DataFrame({"n": [len(patterns)]})}}
    )
    assert named.table("size")["n"].item() == 2
    with pytest.raises(KdprobeError, match="The analysis 'wrong' returned an int"):
        kdprobe.probe(patterns=files, analyses={"wrong": lambda patterns: patterns[0].pattern.ndim})


def test_figures_are_plotlys_and_their_names_no_markup(files):
    import plotly.graph_objects as go

    renamed = {"<b>a</b>": files["a"], "b": files["b"]}
    result = kdprobe.probe(patterns=renamed, analyses=["divergence", "heads"])
    figures = [figure for titled in result.figures.values() for figure in titled.values()]
    assert figures
    assert all(isinstance(figure, go.Figure) for figure in figures)
    assert not any("<b>" in str(trace.name) for figure in figures for trace in figure.data)


def test_a_table_is_found_by_its_name_or_refused(files):
    result = kdprobe.probe(patterns=files, analyses=["heads", "divergence"])
    assert result.table("heads", analysis="heads").equals(result.table("heads"))
    with pytest.raises(UsageError, match=r"There is no table 'head'. Available: heads \(heads\)"):
        result.table("head")


def test_contradictions_are_refused():
    with pytest.raises(UsageError, match="Specify either MODEL or --patterns"):
        kdprobe.probe()
    with pytest.raises(UsageError, match="--figures needs --out"):
        kdprobe.probe("model", figures=True)
    with pytest.raises(UsageError, match="must be positive"):
        kdprobe.probe("model", limit=0)
