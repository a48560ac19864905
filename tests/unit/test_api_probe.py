"""`probe` on attention patterns in Python gives the results of the command, from files and from arrays."""

import numpy as np
import pandas as pd
import pytest

import kdprobe
from kdprobe.errors import KdprobeError, UsageError


def pattern(seed):
    """Patterns `[layer, head, query, key]`: causal, with rows that sum to one."""
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
        rows = [{"student": each.name, "largest": each.prompts[0].pattern.max()} for each in patterns]
        return pd.DataFrame(rows)

    result = kdprobe.probe(patterns=files, analyses=["heads", largest])
    assert result.table("largest")["student"].tolist() == ["a", "b"]
    assert list(result.tables) == ["heads", "largest"]
    # Nothing is kept, so a lambda needs no key.
    named = kdprobe.probe(
        patterns=files, analyses={"sizes": lambda patterns: {"size": pd.DataFrame({"n": [len(patterns)]})}}
    )
    assert named.table("size")["n"].item() == 2
    listed = kdprobe.probe(
        patterns=files, analyses={"rows": lambda patterns: [{"n": p.prompts[0].pattern.shape[0]} for p in patterns]}
    )
    assert listed.table("rows")["n"].tolist() == [2, 2]
    with pytest.raises(KdprobeError, match="The analysis 'wrong' returned an int"):
        kdprobe.probe(patterns=files, analyses={"wrong": lambda patterns: patterns[0].prompts[0].pattern.ndim})


def strongest(view):
    """Attention on the strongest key."""
    return view.mean_over_queries(view.pattern.amax(dim=-1))


def test_a_head_metric_is_a_plain_function(files):
    result = kdprobe.probe(patterns=files, head_metrics=[strongest])
    heads = result.table("heads")
    measured = heads[heads["metric"] == "strongest"].set_index(["student", "layer", "head"])["value"]
    for name, seed in (("a", 0), ("b", 1)):
        wanted = pattern(seed).max(axis=-1).mean(axis=-1)
        assert measured[name].to_numpy().reshape(2, 3) == pytest.approx(wanted, rel=1e-6)
    assert result.head_metrics["strongest"].summary == "Attention on the strongest key"
    assert len(result.to_dict()["patterns"][0]["per_layer"]["strongest"]) == 2
    # A lambda too, since nothing is stored; and it can be the metric that decides which heads moved.
    named = kdprobe.probe(
        patterns=files, head_metrics={"mine": lambda view: 1 * strongest(view)}, options={"heads": {"metric": "mine"}}
    )
    table = named.table("heads")
    assert table[table["metric"] == "mine"]["value"].tolist() == measured.tolist()
    assert named.to_dict()["analyses"]["heads"]["threshold"]["metric"] == "mine"


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (lambda view: view.pattern.mean(dim=-1), r"returned \(1, 3, 5\), not a tensor of shape \(1, 3\)"),
        (lambda view: 3.0, "returned a float, not a tensor"),
        (lambda view: view.spans["answer"], "failed: KeyError: 'answer'. Patterns from files have no tokens or"),
        ("entropy", "The head metric 'mine' is a str"),
    ],
)
def test_what_is_no_head_metric_is_one_sentence(files, metric, words):
    with pytest.raises(KdprobeError, match=words):
        kdprobe.probe(patterns=files, head_metrics={"mine": metric})


def test_functions_in_lists_have_names_of_their_own(files):
    def heads(patterns):
        return patterns

    def make(factor):
        def scaled(view):
            return factor * strongest(view)

        return scaled

    with pytest.raises(UsageError, match="The head metric 'entropy' already exists"):
        kdprobe.probe(patterns=files, head_metrics={"entropy": strongest})
    with pytest.raises(UsageError, match=r"has the same name as another, 'scaled'. Name it: head_metrics="):
        kdprobe.probe(patterns=files, head_metrics=[make(1), make(2)])
    with pytest.raises(UsageError, match="The analysis 'heads' already exists"):
        kdprobe.probe(patterns=files, analyses=[heads])
    assert list(kdprobe.probe(patterns=files, analyses="heads").tables) == ["heads"]


def test_patterns_are_no_models(files):
    probed = kdprobe.probe(patterns=files)
    assert list(probed.students) == []
    with pytest.raises(
        KdprobeError, match=r"The model 'a' cannot be loaded: only attention patterns were probed\. Pass"
    ):
        probed.students["a"].load()


def test_the_result_is_what_its_analyses_found(files):
    probed = kdprobe.probe(patterns=files, analyses=["heads", "divergence"])
    assert probed.analyses.table("jensen_shannon") is probed.table("jensen_shannon")
    assert list(probed.statements) == list(probed.figures) == list(probed.details) == ["heads", "divergence"]


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


def test_an_unknown_option_names_the_nearest(files):
    with pytest.raises(
        UsageError, match=r"^The options of heads are invalid: smallest_efect: unknown key; did you"
    ) as caught:
        kdprobe.probe(patterns=files, options={"heads": {"smallest_efect": 0.1}})
    assert str(caught.value).endswith("'smallest_effect'? Set options with --option heads.KEY=VALUE.")


def test_contradictions_are_refused():
    with pytest.raises(UsageError, match="Specify either MODEL or --patterns"):
        kdprobe.probe()
    with pytest.raises(UsageError, match="--figures needs --out"):
        kdprobe.probe("model", figures=True)
    with pytest.raises(UsageError, match="must be positive"):
        kdprobe.probe("model", limit=0)
