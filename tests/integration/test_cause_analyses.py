"""The causal analyses on the tiny model: planted heads, shares of a gain, controls, tables."""

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest

from kdprobe.errors import KdprobeError

PLANTED = (1, 2)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj"]


@pytest.fixture(scope="module")
def untrained(tiny_record):
    from kdprobe.students.student import Student

    return Student("untrained", tiny_record)


@pytest.fixture(scope="module")
def plant(torch, tiny_record, tmp_path_factory):
    """Makes a model in which one head looks elsewhere, and writes something different, from the tiny model."""
    from kdprobe.models.load import load
    from kdprobe.models.reference import resolve
    from kdprobe.students.student import Student

    def make(layer, head):
        loaded = load(tiny_record, dtype="float32")
        attention, own = loaded.model.model.layers[layer].self_attn, slice(8 * head, 8 * head + 8)
        torch.manual_seed(1)
        with torch.no_grad():
            attention.q_proj.weight[own].normal_(std=0.5)
            attention.o_proj.weight[:, own].normal_(std=3.0)
        folder = tmp_path_factory.mktemp("planted") / "model"
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        return Student("planted", resolve(str(folder)))

    return make


@pytest.fixture(scope="module")
def planted(plant):
    return plant(*PLANTED)


@pytest.fixture(scope="module")
def look(problems):
    """Runs an analysis on students, as the command line and experiments do."""
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.metrics.metric import head_metrics_of

    def run(name, students, /, count=4, **options):
        host = Host()
        context = AnalysisContext(
            students=students, problems=problems[:count], batch_size=3, head_metrics=head_metrics_of(host)
        )
        result = run_analysis(name, host.create("analyses", name, options), context)
        # As the report and --json take it.
        json.dumps([[figure.plotly for figure in result.figures], dict(result.summary), list(result.statements)])
        return result

    return run


def pooled(table, method="exact", metric="log_p_gold_solution"):
    rows = table[(table["problem"] == "pooled") & (table["method"] == method) & (table["metric"] == metric)]
    return rows.set_index(["layer", "head"])["value"]


@pytest.mark.parametrize("method", ["gradient", "exact"])
@pytest.mark.parametrize("into", ["first", "student"])
def test_patching_ranks_a_planted_head_first(method, into, look, untrained, planted):
    result = look("patching", [untrained, planted], exact="all", into=[into], random_sets=0)
    effects = pooled(result.tables["patching"], method)
    assert effects.abs().idxmax() == PLANTED
    # What lies below the planted head, or beside it, is the same in both students.
    assert effects.drop(PLANTED).abs().max() < 1e-4


def test_a_planted_head_below_others_carries_the_whole_gain(look, untrained, plant):
    result = look("patching", [untrained, plant(0, 2)], exact="all", into=["first"], random_sets=0)
    sets = result.tables["patching_sets"].set_index(["set", "metric"])["value"]
    gain = result.tables["gain"].query("problem == 'pooled'").set_index("metric")["value"]
    assert sets["every", "log_p_gold_solution"] == pytest.approx(gain["log_p_gold_solution"], abs=1e-3)
    # Heads above it differ only by what they read.
    exact = pooled(result.tables["patching"])
    assert exact[0, 2] == pytest.approx(gain["log_p_gold_solution"], abs=1e-3)
    assert exact.drop((0, 2)).loc[0].abs().max() < 1e-4
    assert exact.loc[1].abs().min() > 1e-3


@pytest.mark.parametrize("into", ["first", "student"])
def test_the_screen_sends_the_planted_head_first_to_the_exact_runs(into, look, untrained, planted):
    result = look("patching", [untrained, planted], count=2, exact=2, together=1, into=[into], random_sets=3)
    (pair,) = result.summary["pairs"]
    assert (pair["heads"][0]["layer"], pair["heads"][0]["head"]) == PLANTED
    # What brings the gain into the one student takes all of it from the other.
    assert pair["heads"][0]["share"] == pytest.approx(1, abs=1e-3)
    assert "100% of the gain" in result.statements[2]


def test_heads_whose_loss_costs_most_are_run_exactly(look, untrained):
    table = look("ablation", [untrained], exact=3, random_sets=0).tables["ablation"]
    screened = pooled(table, "gradient").sort_values()
    assert set(pooled(table).index) == set(screened.index[:3])


def test_geometry_names_the_planted_head_alone(look, untrained, planted):
    result = look("geometry", [untrained, planted])
    for top in result.summary["students"]["planted"].values():
        assert (top[0]["layer"], top[0]["head"]) == PLANTED
    table = result.tables["geometry"]
    assert {figure.caption for figure in result.figures} == {"Computed from the weights; one cell per head."}
    moved = table[table["change"] > 0]
    assert set(zip(moved["layer"], moved["head"], strict=True)) == {PLANTED}
    assert set(moved["circuit"]) == {"qk", "ov"}


def test_ablation_ranks_the_one_head_that_writes_first(torch, look, tiny_record, tmp_path):
    from kdprobe.models.load import load
    from kdprobe.models.reference import resolve
    from kdprobe.students.student import Student

    loaded = load(tiny_record, dtype="float32")
    with torch.no_grad():
        for place, layer in enumerate(loaded.model.model.layers):
            for head in range(4):
                if (place, head) != PLANTED:
                    layer.self_attn.o_proj.weight[:, 8 * head : 8 * head + 8] *= 1e-3
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    table = look("ablation", [Student("alone", resolve(str(tmp_path / "model")))], exact="all").tables["ablation"]
    for method in ("gradient", "exact"):
        assert pooled(table, method).abs().idxmax() == PLANTED


def test_evidence_names_the_planted_head(look, untrained, planted):
    result = look("ablation", [untrained, planted], exact="all", random_sets=0)
    evidence = result.tables["head_evidence"].set_index(["layer", "head"])
    assert set(evidence["student"]) == {"planted"}
    for change in ("qk", "ov", "pattern"):
        assert evidence[change].idxmax() == PLANTED
    table = result.tables["ablation"]
    exact = pooled(table[table["student"] == "planted"]).sort_index()
    np.testing.assert_allclose(evidence["ablation_exact"], exact)


def test_two_equal_students_have_no_gain_to_share(look, untrained, tiny_student):
    result = look("patching", [untrained, tiny_student(ALL, size=0)], exact=2, random_sets=3)
    assert result.tables["gain"]["value"].abs().max() < 1e-4
    assert result.tables["patching"]["share"].isna().all()
    assert "so effects are not given as shares of this gain" in result.statements[0]
    assert pooled(result.tables["patching"]).abs().max() < 1e-4


def test_tables_are_tidy(look, untrained, tiny_student):
    students = [untrained, tiny_student(ALL)]
    result = look("ablation", students, exact=3, together=2, random_sets=4, same_layers=True)
    table = result.tables["ablation"]
    keys = ["student", "layer", "head", "metric", "problem", "method"]
    assert not table.duplicated(keys).any()
    rows = table.groupby(["student", "method"]).size()
    assert rows.loc[:, "gradient"].tolist() == [8 * 2 * 5] * 2
    # Of the trained one, heads that moved are run, too.
    assert rows["untrained", "exact"] == 3 * 2 * 5
    assert rows["trained", "exact"] in {heads * 2 * 5 for heads in (3, 4, 5)}
    exact = table[(table["method"] == "exact") & (table["problem"] != "pooled")]
    means = exact.groupby(["student", "layer", "head", "metric"])["value"].mean()
    told = table[(table["method"] == "exact") & (table["problem"] == "pooled")]
    told = told.set_index(["student", "layer", "head", "metric"])
    np.testing.assert_allclose(told["value"], means.reindex(told.index))
    assert (told["low"] <= told["value"]).all()
    assert (told["value"] <= told["high"]).all()
    sets = result.tables["ablation_sets"]
    counts = sets.groupby("student")["set"].value_counts()
    assert counts["untrained"].to_dict() == {"random": 8, "top": 2, "every": 2}
    assert counts["trained"].to_dict() == {"random": 16, "top": 2, "every": 2, "moved": 2}
    # The top heads are not measured on the first of four folds.
    assert sets.loc[sets["set"] == "top", "problems"].eq(3).all()
    read = sets[sets["set"] == "random"].groupby("compared_with")["problems"]
    assert read.unique().map(list).to_dict() == {"top": [3], "moved": [4]}
    assert set(sets.loc[sets["set"] != "every", "heads"]) == {2}
    assert set(result.tables["head_correlations"]["change"]) == {"qk", "ov", "pattern"}


def test_an_unknown_student_is_refused(look, untrained):
    with pytest.raises(KdprobeError, match="names an unknown student 'primed'"):
        look("ablation", [untrained], students=["primed"])


def test_divergence_reads_as_many_sequences_at_once_as_fit_into_memory(monkeypatch, look, untrained, planted):
    from kdprobe.probing.patterns import pairwise

    sizes = []
    read = pairwise.read

    def counted(student, ids, *arguments, **keywords):
        sizes.append(len(ids))
        return read(student, ids, *arguments, **keywords)

    monkeypatch.setattr(pairwise, "read", counted)
    together = look("divergence", [untrained, planted]).tables["jensen_shannon"]
    monkeypatch.setattr(pairwise, "free_bytes", lambda _device: 1)
    alone = look("divergence", [untrained, planted]).tables["jensen_shannon"]
    # Two students read batches of three and of one; then every sequence by itself.
    assert sizes == [3, 3, 1, 1] + [1] * 8
    np.testing.assert_allclose(alone["value"], together["value"], atol=1e-6)


def test_memory_does_not_grow_with_students(monkeypatch, look, untrained, planted, plant):
    from kdprobe.probing.interventions import patching
    from kdprobe.probing.interventions.patching import read_heads

    kept, alive = [], []

    def counted(*arguments):
        outputs = read_heads(*arguments)
        kept.append(weakref.ref(outputs))
        alive.append(sum(output() is not None for output in kept))
        return outputs

    monkeypatch.setattr(patching, "read_heads", counted)
    students = [untrained, planted, plant(0, 2), plant(1, 0)]
    named = [replace(student, name=str(index)) for index, student in enumerate(students)]
    look("patching", named, count=1, exact=1, random_sets=0)
    assert alive == [1, 2, 2, 2]


def test_patching_takes_two_students(look, untrained):
    with pytest.raises(KdprobeError, match="two students"):
        look("patching", [untrained])


def test_students_of_another_shape_are_refused(torch, look, untrained, tiny_record, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    from kdprobe.models.load import load_tokenizer
    from kdprobe.models.reference import resolve
    from kdprobe.students.student import Student

    config = AutoConfig.from_pretrained(tiny_record.path, num_hidden_layers=3, hidden_size=48, head_dim=8)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    load_tokenizer(tiny_record).save_pretrained(tmp_path / "model")
    other = Student("other", resolve(str(tmp_path / "model")))
    for name, said in (("patching", "differ in their number of layers or heads"), ("geometry", "differ in shape")):
        with pytest.raises(KdprobeError, match=said):
            look(name, [untrained, other], count=2)


def test_ablation_loses_nothing_to_what_an_architecture_cannot_give(look, model_of, make_adapter):
    from kdprobe.students.student import Student

    for record, targets, missing in (
        (model_of("deepseek_v3"), ["o_proj"], ("qk", "the circuits of tuned")),
        (
            model_of("falcon", new_decoder_architecture=True, num_kv_heads=2),
            ["query_key_value", "dense"],
            ("pattern", "attention"),
        ),
    ):
        adapter = make_adapter(record.path, 0, target_modules=targets)
        students = [Student("base", record), Student("tuned", record, adapter)]
        result = look("ablation", students, count=2, exact=2, random_sets=0)
        evidence = result.tables["head_evidence"]
        assert evidence[missing[0]].isna().all()
        assert evidence[["qk", "pattern"]].notna().all().sum() == 1
        assert evidence["ablation_gradient"].abs().min() > 0
        said = f"The change in {missing[1]} is not reported: "
        assert any(sentence.startswith(said) for sentence in result.statements)


def test_what_one_student_cannot_give_is_missing_of_that_one_alone(look, untrained, planted, model_of):
    from kdprobe.students.student import Student

    other = Student("other", model_of("llama", num_hidden_layers=3))
    result = look("ablation", [untrained, other, planted], count=2, exact=2, random_sets=0)
    evidence = result.tables["head_evidence"].groupby("student")
    assert evidence.get_group("planted")[["qk", "ov", "pattern"]].notna().all(axis=None)
    assert evidence.get_group("other")[["qk", "ov", "pattern"]].isna().all(axis=None)
    # Three layers of four heads were taken away all the same.
    assert evidence.get_group("other")["ablation_gradient"].abs().gt(0).sum() == 12
    assert set(result.tables["ablation"]["student"]) == {"untrained", "other", "planted"}
    reasons = [sentence for sentence in result.statements if " is not reported: " in sentence]
    assert [reason.split(" is not reported: ")[0] for reason in reasons] == [
        "The change in the circuits of other",
        "The change in the attention of other",
    ]


def test_an_error_that_nobody_foresaw_leaves_a_change_empty(look, untrained, planted, monkeypatch):
    from kdprobe.probing.interventions import head_evidence

    def fail(*_arguments, **_known):
        raise RuntimeError("shape '[3, 4]' is invalid\nfor input of size 7")

    whole = look("ablation", [untrained, planted], count=2, exact=2, random_sets=0)
    for name in ("student_changes", "students_side_by_side"):
        monkeypatch.setattr(head_evidence, name, fail)
    result = look("ablation", [untrained, planted], count=2, exact=2, random_sets=0)
    assert result.tables["head_evidence"][["qk", "ov", "pattern"]].isna().all(axis=None)
    error = "RuntimeError: shape '[3, 4]' is invalid for input of size 7"
    why = f"is not reported: it could not be measured ({error})."
    assert {f"The change in the circuits of planted {why}", f"The change in attention {why}"} <= set(result.statements)
    effect = "ablation_gradient"
    np.testing.assert_array_equal(result.tables["head_evidence"][effect], whole.tables["head_evidence"][effect])


def test_attribution_is_what_heads_add_to_the_logits(torch, look, untrained, tiny_record, problems):
    """From Hugging Face's own modules: divided by the last stream's root mean square, through the output matrix."""
    from kdprobe.models.load import load
    from kdprobe.students.sequence import problem_sequences

    table = look("attribution", [untrained], problems=2).tables["attribution"]
    model = load(tiny_record, dtype="float32").model.double()
    tokenizer = load(tiny_record).tokenizer
    for one in problem_sequences(tokenizer, problems[:2]):
        ids = torch.tensor([one.ids[:-1]])
        z = {}
        hooks = [
            layer.self_attn.o_proj.register_forward_pre_hook(
                lambda _m, given, place=place, z=z: z.update({place: given[0][0]})
            )
            for place, layer in enumerate(model.model.layers)
        ]
        last = []
        hooks.append(model.model.norm.register_forward_pre_hook(lambda _m, given, last=last: last.append(given[0][0])))
        with torch.no_grad():
            model(input_ids=ids)
        for hook in hooks:
            hook.remove()
        rows = slice(one.begin - 1, -1)
        scale = (last[0][rows].square().mean(-1, keepdim=True) + model.config.rms_norm_eps).sqrt()
        matrix = model.lm_head.weight - model.lm_head.weight.mean(dim=0)
        direction = matrix[ids[0, one.begin :]] * model.model.norm.weight / scale
        for layer in range(2):
            weight = model.model.layers[layer].self_attn.o_proj.weight
            for head in range(4):
                own = slice(8 * head, 8 * head + 8)
                expected = ((z[layer][rows, own] @ weight[:, own].T) * direction).sum(-1).mean().item()
                row = table.query(
                    f"layer == {layer} and head == {head} and problem == '{one.id}' and metric == 'logit_gold_solution'"
                )
                assert row["value"].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "neox"])
def test_attribution_and_ablation_hold_in_other_architectures(family, look, other_families):
    """Both compare the heads' outputs with the model's results, and would raise an error."""
    from kdprobe.models.reference import resolve
    from kdprobe.students.student import Student

    student = Student(family, resolve(str(other_families[family])))
    assert look("attribution", [student], count=2).tables["attribution"]["value"].abs().max() > 1e-3
    assert pooled(look("ablation", [student], count=2, exact=2, random_sets=0).tables["ablation"]).abs().max() > 1e-3


def test_attribution_refuses_parts_that_do_not_add_up(look, untrained, monkeypatch):
    from kdprobe.probing.outputs import logit_attribution as attribution

    monkeypatch.setattr(attribution, "TOLERANCE", -1.0)
    with pytest.raises(KdprobeError, match="do not add up to the logits"):
        look("attribution", [untrained], count=2)


def test_a_student_without_heads_is_one_with_their_outputs_at_zero(torch, tiny_record, problems):
    from kdprobe.console import progress
    from kdprobe.models.load import load
    from kdprobe.probing.interventions.accuracy import without_heads
    from kdprobe.probing.interventions.forward import head_outputs, reader
    from kdprobe.probing.interventions.joint_effects import joint_effects
    from kdprobe.probing.interventions.replacement import ablated
    from kdprobe.students.sequence import problem_sequences

    loaded = load(tiny_record, dtype="float32")
    sequences, heads = problem_sequences(loaded.tokenizer, problems[:2]), [(0, 1), (1, 3)]
    with progress("test") as bar:
        with reader(loaded) as reading:
            own = head_outputs(reading, sequences, bar=bar)
            effect = joint_effects(reading, sequences, ablated(own, "zero"), [heads], batch_size=1, bar=bar)[:, 0]
        with reader(without_heads(loaded, heads)) as reading:
            without = head_outputs(reading, sequences, bar=bar)
    np.testing.assert_allclose(without.log_p - own.log_p, effect, atol=1e-4)
    assert effect.abs().max() > 0.1


def test_top_heads_are_measured_on_problems_that_did_not_select_them(torch, look, untrained, tiny_record, problems):
    from kdprobe.console import progress
    from kdprobe.models.load import load
    from kdprobe.probing.interventions.accuracy import without_heads
    from kdprobe.probing.interventions.forward import head_outputs, reader
    from kdprobe.students.sequence import problem_sequences

    result = look("ablation", [untrained], exact="all", together=2, folds=2, random_sets=3, replacement="zero")
    table = result.tables["ablation"].query("method == 'gradient' and metric == 'log_p_gold_solution'")
    by_problem = table[table["problem"] != "pooled"].pivot(index=["layer", "head"], columns="problem", values="value")
    names = [problem.id for problem in problems[:4]]
    first = by_problem[[names[0], names[2]]].mean(axis=1).nsmallest(2).index.tolist()
    loaded = load(tiny_record, dtype="float32")
    sequences = problem_sequences(loaded.tokenizer, [problems[1], problems[3]])
    log_p = []
    for heads in ([], first):
        with progress("test") as bar, reader(without_heads(loaded, heads)) as reading:
            log_p.append(head_outputs(reading, sequences, bar=bar).log_p.double().mean(dim=0)[0])
    sets = result.tables["ablation_sets"].query("metric == 'log_p_gold_solution'")
    top, random = (sets[sets["set"] == kind] for kind in ("top", "random"))
    assert top["value"].item() == pytest.approx(float(log_p[1] - log_p[0]), abs=1e-4)
    assert set(top["problems"]) == set(random["problems"]) == {2}
    selection = result.tables["ablation_selection"].set_index(["layer", "head"])
    second = by_problem[[names[1], names[3]]].mean(axis=1).nsmallest(2).index.tolist()
    assert selection["folds"].sum() == 4
    assert set(selection.index[selection["folds"] > 0]) == {*first, *second}
    assert selection["resamples"].sum() == pytest.approx(2)
    assert "divided into 2 folds" in result.statements[0]


def test_random_sets_from_the_same_layers_are_those_of_each_fold(monkeypatch, look, untrained, tiny_student):
    from kdprobe.probing.interventions import sweep

    drawn = []
    draw = sweep.random_sets

    def counted(top, *arguments, **keywords):
        found = draw(top, *arguments, **keywords)
        drawn.append((top, found))
        return found

    monkeypatch.setattr(sweep, "random_sets", counted)
    students = [untrained, tiny_student(ALL)]
    look("ablation", students, exact=3, together=2, random_sets=4, same_layers=True, students=["trained"])
    # One draw for the top heads of every fold but the first, and one for those that moved in each of the four.
    assert len(drawn) == 3 + 4
    for top, sets in drawn:
        assert all(sorted(layer for layer, _ in heads) == sorted(layer for layer, _ in top) for heads in sets)


def test_sets_without_an_effect_do_not_stand_out(look, untrained, tiny_student):
    equal = tiny_student(ALL, size=0)
    said = " ".join(look("patching", [untrained, equal], exact=2, together=2, random_sets=19).statements)
    assert "so these heads do not stand out (p = 1.00)" in said


def test_one_problem_selects_heads_for_itself(look, untrained, planted):
    for name, students in (("ablation", [untrained]), ("patching", [untrained, planted])):
        result = look(name, students, count=1, exact=2, random_sets=3)
        said = " ".join(result.statements)
        assert "selected on the problem that their effects are measured on, so they are not compared" in said
        assert "random sets of" not in said.replace("random sets of the same size", "")


def test_accuracy_without_heads(look, untrained):
    result = look("ablation", [untrained], count=2, exact=2, random_sets=1, accuracy=True, max_new_tokens=4)
    table = result.tables["accuracy"].set_index("set")
    assert table["n"].tolist() == [2, 2, 2]
    assert table["heads"].to_dict() == {"none": 0, "top": 2, "random": 2}
    assert "The top heads were selected on these same problems." in result.statements
    assert any(
        sentence.startswith("With all heads, untrained solves ") and "; without its top 2 heads, " in sentence
        for sentence in result.statements
    )


def test_accuracy_without_heads_on_problems_that_did_not_select_them(look, untrained):
    options = {"problems": 1, "exact": 2, "random_sets": 1, "accuracy": True, "max_new_tokens": 4}
    result = look("ablation", [untrained], count=3, **options)
    assert result.tables["accuracy"]["n"].tolist() == [2, 2, 2]
    assert not any("selected on." in sentence for sentence in result.statements)


def test_from_the_command_line(run_cli, tiny_model, tiny_student, problem_files):
    printed = run_cli(
        *("probe", tiny_model, "--adapter", f"trained={tiny_student(ALL).adapter}", "--problems", problem_files[1]),
        *("--limit", 2, "--analysis", "geometry", "--analysis", "ablation", "--analysis", "patching", "--json"),
        *("--option", "ablation.random_sets=2", "--option", "patching.exact=1"),
    )
    analyses = json.loads(printed)["analyses"]
    assert len(analyses["ablation"]["students"]["trained"]["heads"]) == 8
    assert [len(pair["heads"]) for pair in analyses["patching"]["pairs"]] == [1, 1]
