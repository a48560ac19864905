"""`kdprobe probe` on tiny students: what it finds, what it writes, and what it rejects."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models.reference import resolve
from pages import data_of


@pytest.fixture(scope="module")
def problem_file(tmp_path_factory, problem_rows):
    file = tmp_path_factory.mktemp("problems") / "test.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in problem_rows(20, 8)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def planted(tiny_model, tmp_path_factory):
    """The tiny model with the queries of layer 1, head 2 overwritten, so that it attends uniformly."""
    folder = tmp_path_factory.mktemp("planted") / "planted"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    rows = slice(2 * 8, 3 * 8)
    weights["model.layers.1.self_attn.q_proj.weight"][rows] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def scaled(tiny_model, make_adapter, tmp_path_factory):
    """An adapter, and the same with its update multiplied by 1.01."""
    first = make_adapter(tiny_model, 5)
    second = tmp_path_factory.mktemp("scaled") / "scaled"
    shutil.copytree(first, second)
    weights = load_file(second / "adapter_model.safetensors")
    more = {name: weight * 1.01 if "lora_B" in name else weight for name, weight in weights.items()}
    save_file(more, second / "adapter_model.safetensors", metadata={"format": "pt"})
    return first, second


def probe(run_cli, *arguments):
    return json.loads(run_cli("probe", *arguments, "--json"))


def test_a_planted_head_is_first_by_divergence_and_moves(run_cli, tiny_model, planted, problem_file):
    found = probe(
        run_cli,
        *(planted, "--against", tiny_model, "--problems", problem_file),
        *("--analysis", "divergence", "--analysis", "heads", "--option", "heads.smallest_effect=0.01"),
    )
    assert [student["name"] for student in found["students"]] == ["tiny", "planted"]
    divergence = found["analyses"]["divergence"]
    assert divergence["top"][0] == {"layer": 1, "head": 2, "variance": divergence["top"][0]["variance"]}
    # All other heads of that layer, and all of the layer below, see what they saw before.
    assert divergence["top"][1]["variance"] < divergence["top"][0]["variance"] * 1e-6
    assert divergence["jensen_shannon"]["planted"][0]["head"] == 2
    (moved,) = found["analyses"]["heads"]["moved"]["planted"]
    assert (moved["layer"], moved["head"]) == (1, 2)
    assert moved["change"] > 0.01


def test_a_trivial_change_moves_no_head_however_significant(run_cli, tiny_model, scaled, problem_file, tmp_path):
    first, second = scaled
    found = probe(
        run_cli,
        *(tiny_model, "--adapter", f"one={first}", "--adapter", f"more={second}", "--against", "one"),
        *("--problems", problem_file, "--out", tmp_path),
    )
    assert [student["name"] for student in found["students"]] == ["one", "tiny", "more"]
    assert found["analyses"]["heads"]["moved"]["more"] == []
    assert len(found["analyses"]["heads"]["moved"]["tiny"]) > 0
    table = pd.read_parquet(tmp_path / "heads" / "differences.parquet")
    more = table[(table["student"] == "more") & (table["metric"] == "entropy")]
    assert (more["p_over_problems"] <= 0.05).any()
    assert not more["moved"].any()
    assert any(
        "more compared with one: no head moved" in sentence for sentence in found["analyses"]["heads"]["statements"]
    )


def test_seeds_of_an_arm_set_the_bar(run_cli, tiny_model, make_adapter, problem_file):
    adapters = [f"arm@{seed}={make_adapter(tiny_model, 10 + seed)}" for seed in (0, 1)]
    arguments = [word for adapter in adapters for word in ("--adapter", adapter)]
    found = probe(
        run_cli, tiny_model, *arguments, "--problems", problem_file, "--analysis", "heads", "--analysis", "divergence"
    )
    for analysis in ("heads", "divergence"):
        bar = found["analyses"][analysis]["threshold"]
        assert not bar["stated"]
        assert bar["value"] > 0.05
    assert set(found["analyses"]["heads"]["moved"]) == {"arm"}


def test_tables_are_tidy_and_the_page_stands_alone(run_cli, tiny_model, planted, problem_file, tmp_path):
    out = tmp_path / "out"
    printed = run_cli(
        *("probe", planted, "--against", tiny_model, "--problems", problem_file, "--limit", 3, "--out", out),
        *("--analysis", "heads", "--analysis", "attention", "--figures"),
    )
    assert "Inside the students (heads)" in printed
    columns = ["student", "layer", "head", "metric", "problem", "value", "low", "high"]
    pooled = pd.read_parquet(out / "heads" / "heads.parquet")
    single = pd.read_csv(out / "heads" / "heads_by_problem.csv")
    assert list(pooled.columns) == columns == list(single.columns)
    assert set(pooled["problem"]) == {"pooled"}
    assert set(single["problem"]) == {"test-1", "test-2", "test-3"}
    keys = ["student", "layer", "head", "metric"]
    assert not pooled.duplicated(keys).any()
    means = single.groupby(keys)["value"].mean()
    np.testing.assert_allclose(pooled.set_index(keys)["value"].loc[means.index], means, rtol=1e-5)
    known = pooled.dropna(subset=["value"])
    assert (known["low"] <= known["value"] + 1e-9).all()
    assert (known["value"] <= known["high"] + 1e-9).all()
    page = (out / "probe.html").read_text()
    shown = data_of(page)
    assert page.count("data-figure=") == len(shown["figures"]) > 0
    assert "https://" not in page.split("<script", maxsplit=1)[0]
    entropy = next(measure for measure in shown["heads"] if measure["title"] == "Attention entropy")
    name, grid = list(entropy["students"].items())[-1]
    rows = pooled[(pooled["metric"] == "entropy") & (pooled["student"] == name)].sort_values(["layer", "head"])
    np.testing.assert_allclose(grid["value"], rows["value"], rtol=1e-4)
    assert grid["high"] == [float(f"{high:.4g}") for high in rows["high"]], "to the digits that the page writes"
    images = sorted(file.suffix for file in (out / "attention").iterdir() if file.suffix in {".png", ".svg"})
    assert images == [".png"] * 3 + [".svg"] * 3


def test_names_of_students_are_text_on_the_page(run_cli, tiny_model, planted, problem_file, tmp_path):
    from kdprobe.probing.analysis import AnalysisContext
    from kdprobe.probing.attention.maps import build
    from kdprobe.probing.options import AttentionOptions
    from kdprobe.problems.sources.jsonl import read
    from kdprobe.report.probe_page import write_probe_page
    from kdprobe.students.student import Student

    names = ["<img src=x onerror=alert(1)>", "b"]
    students = [Student(name, resolve(str(folder))) for name, folder in zip(names, (tiny_model, planted), strict=True)]
    result = build(AttentionOptions(heads=[(1, 2)])).run(AnalysisContext(students, list(read(problem_file))[:1]))
    text = write_probe_page(tmp_path, names, "", {"attention": result}).read_text()
    assert "<img" not in text
    # Plotly reads HTML in labels, names and menus: what it is given is escaped.
    figures = json.dumps(data_of(text)["figures"])
    assert "<img" not in figures
    assert "&lt;img" in figures


def test_a_metric_of_a_plugin_is_measured(torch, tiny_model, problems):
    from kdprobe import HeadMetricSpec, hookimpl
    from kdprobe.host.candidates import Candidate, builtin_candidates
    from kdprobe.host.discovery import discover
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext
    from kdprobe.probing.metrics.measure import measure
    from kdprobe.probing.metrics.metric import head_metrics_of
    from kdprobe.students.student import Student

    class Plugin:
        @hookimpl
        def kdprobe_head_metrics(self):
            def largest(view):
                return view.mean_over_queries(view.pattern.amax(dim=-1))

            yield HeadMetricSpec(name="largest", summary="Largest weight of a row", build=lambda options: largest)

    providers = discover([*builtin_candidates(), Candidate("mine", "1", "mine", Plugin)])
    metrics = head_metrics_of(Host(providers))
    student = Student("tiny", resolve(str(tiny_model)))
    context = AnalysisContext([student], problems[:2], head_metrics={"largest": metrics["largest"]})
    found = measure(context)["tiny"]["largest"]
    model = student.load(attention="eager").model
    with torch.inference_mode():
        rows = model(torch.tensor([context.sequences[0].ids]), output_attentions=True).attentions[1]
    np.testing.assert_allclose(found[0, 1], rows[0].amax(dim=-1).mean(dim=-1).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "either MODEL or --patterns"),
        (["MODEL", "--patterns", "a.npz"], "either MODEL or --patterns"),
        (["--patterns", "a.npz", "--adapter", "x"], "need MODEL"),
        (["MODEL", "--figures"], "needs --out"),
        (["MODEL", "--analysis", "heds"], "Did you mean 'heads'"),
        (["MODEL", "--option", "heads"], "is not an option"),
        (["MODEL", "--option", "divergence.smallest_effect=1"], "which is not used here"),
        (["MODEL", "--option", "heads.smallest_effect=-1"], "The options of heads are invalid: smallest_effect"),
        (
            ["MODEL", "--problems", "gsm-symbolic"],
            r"missing. Set options with --option gsm-symbolic.KEY",
        ),
        (["MODEL", "--option", "heads.metric=entropie"], "There is no head metric 'entropie' for these patterns"),
        (["MODEL", "--adapter", "a=nowhere"], "The adapter 'nowhere' has no"),
        (["MODEL", "--analysis", "confidence"], "needs scores. Available here: patterns, problems, students"),
        (["MODEL", "--analysis", "divergence"], "there is only 'tiny'"),
        (["MODEL", "--analysis", "attention", "--option", "attention.heads=[[9,9]]"], "There is no layer 9, head 9"),
        (["MODEL", "--problems", "nowhere.jsonl"], "cannot be read"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(arguments, words, tiny_model, problem_file, torch):
    from kdprobe.cli import app

    given = [str(tiny_model) if word == "MODEL" else word for word in arguments]
    if "--problems" not in given and "--patterns" not in given and given:
        given += ["--problems", str(problem_file)]
    with pytest.raises(KdprobeError, match=words):
        app.main(args=["probe", *given], standalone_mode=False)


def test_analyses_of_files_refuse_what_needs_students(tmp_path):
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.patterns.files import read_patterns

    np.save(tmp_path / "a.npy", np.ones((1, 1, 1, 1)))
    context = AnalysisContext(patterns=read_patterns([str(tmp_path / "a.npy")]))
    with pytest.raises(KdprobeError, match="needs problems, scores and students\\. Available here: patterns"):
        run_analysis("confidence", Host().create("analyses", "confidence", None), context)


def test_students_of_other_tokenizers_are_refused(tiny_model, tmp_path, problem_file, torch):
    from kdprobe.cli import app

    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, two = "Ġapples", list(vocabulary)[300]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UsageError, match="tokenise the problems differently"):
        app.main(
            args=["probe", str(tiny_model), "--against", str(other), "--problems", str(problem_file)],
            standalone_mode=False,
        )
