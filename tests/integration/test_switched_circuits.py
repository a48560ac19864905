"""Switching the updates of circuits: planted changes, models put together by hand, and weights restored bit by bit."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hybrids import heads_of, hybrid, log_p, slices
from kdprobe.errors import KdprobeError
from kdprobe.models.reference import resolve
from kdprobe.students.student import Student

ALL = ["q_proj", "k_proj", "v_proj", "o_proj"]
KINDS = ["q", "k", "v", "o", "mlp"]
FAMILIES = ["llama", "qwen3", "gemma2", "phi3", "gpt2"]


@pytest.fixture(scope="module")
def untrained(tiny_record):
    return Student("untrained", tiny_record)


@pytest.fixture(scope="module")
def change(torch, tmp_path_factory):
    """Writes a copy of a model after `edit` has changed it; returns it as a student."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def make(record, edit, name="changed", **config):
        model = AutoModelForCausalLM.from_pretrained(record.path, **config)
        torch.manual_seed(5)
        with torch.no_grad():
            edit(model)
        folder = tmp_path_factory.mktemp("changed") / "model"
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(record.path).save_pretrained(folder)
        return Student(name, resolve(str(folder)))

    return make


@pytest.fixture(scope="module")
def look(problems):
    """Runs the analysis on students, as the command line and experiments do."""
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis

    def run(students, /, count=3, name="circuits", context=(), **options):
        given = AnalysisContext(students=students, problems=problems[:count], **dict(context))
        result = run_analysis(name, Host().create("analyses", name, options), given)
        # As the report and --json take it.
        json.dumps([[figure.plotly for figure in result.figures], dict(result.summary), list(result.statements)])
        return result

    return run


@pytest.fixture(scope="module")
def sequences(tiny_record, problems):
    from kdprobe.models.load import load_tokenizer
    from kdprobe.students.sequence import problem_sequences

    return problem_sequences(load_tokenizer(tiny_record), problems[:3])


def pooled(table, switched="on", metric="log_p_gold_solution", method="exact"):
    rows = table[(table["problem"] == "pooled") & (table["metric"] == metric) & (table["switched"] == switched)]
    if "circuit" in rows:
        rows = rows[rows["method"] == method]
        return rows.set_index(["circuit", "layer", "index"])
    return rows.set_index(["group", rows["layer"].fillna(-1).astype(int)])


def scramble(model):
    """Changes every weight."""
    import torch

    for weight in model.parameters():
        weight.add_(torch.randn_like(weight), alpha=0.1 * float(weight.std()) if weight.dim() > 1 else 0.1)


@pytest.mark.parametrize("switched", ["on", "off"])
def test_one_planted_circuit_is_first_and_all_others_are_exactly_zero(torch, switched, look, untrained, change):
    def edit(model):
        model.model.layers[1].self_attn.k_proj.weight[8:].normal_(std=2.0)

    result = look([untrained, change(untrained.base, edit)], exact=8)
    effects = pooled(result.tables["circuits"], switched)["value"]
    assert len(effects) == 2 * (4 + 2 + 2 + 4)
    assert effects.abs().idxmax() == ("k", 1, 1)
    assert (effects.drop(("k", 1, 1)) == 0).all()
    gain = result.tables["gain"].query("problem == 'pooled'")["value"].iloc[0]
    assert effects["k", 1, 1] == pytest.approx(gain if switched == "on" else -gain, abs=1e-4)
    groups = pooled(result.tables["circuit_groups"], switched)["value"]
    carrying = {("k", -1), ("attention", -1), ("everything", -1), ("attention", 1)}
    assert set(groups[groups != 0].index) == carrying
    # The one changed circuit was the only one to be screened.
    assert pooled(result.tables["circuits"], switched, method="gradient").index.tolist() == [("k", 1, 1)]


@pytest.mark.parametrize("family", FAMILIES)
def test_effects_are_those_of_models_put_together_by_hand(torch, family, model_of, change, look, sequences):
    from transformers import AutoModelForCausalLM

    record = model_of(family)
    student = change(record, scramble)
    result = look([Student("base", record), student], exact="all")
    model = AutoModelForCausalLM.from_pretrained(record.path)
    before, after = (
        {name: weight.clone() for name, weight in AutoModelForCausalLM.from_pretrained(path).state_dict().items()}
        for path in (record.path, student.base.path)
    )
    first, last = log_p(model, before, sequences), log_p(model, after, sequences)
    single = {
        (kind, layer, head): slices(family, kind, layer, head)
        for layer in range(2)
        for kind in KINDS
        for head in range(heads_of(family, kind))
    }
    groups = {(kind, -1): [part for key, found in single.items() if key[0] == kind for part in found] for kind in KINDS}
    groups["attention", -1] = [part for kind in "qkvo" for part in groups[kind, -1]]
    for layer in range(2):
        groups["mlp", layer] = single["mlp", layer, 0]
        groups["attention", layer] = [
            part for key, found in single.items() if key[0] != "mlp" and key[1] == layer for part in found
        ]
    everything = hybrid(before, after, [(name, ...) for name in before])
    by_hand = {key: (hybrid(before, after, found), hybrid(after, before, found)) for key, found in groups.items()}
    circuits = [part for found in single.values() for part in found]
    # The rest is everything outside the circuits.
    by_hand["rest", -1] = (hybrid(everything, before, circuits), hybrid(before, after, circuits))
    by_hand["everything", -1] = (after, before)
    for switched, start in (("on", first), ("off", last)):
        for target, metric in enumerate(("log_p_gold_solution", "log_p_gold_value")):
            found = pooled(result.tables["circuit_groups"], switched, metric)["value"]
            assert set(found.index) == set(by_hand)
            for key, states in by_hand.items():
                expected = (log_p(model, states[switched == "off"], sequences) - start)[:, target].mean()
                assert found[key] == pytest.approx(expected, abs=2e-3), (switched, key)
        found = pooled(result.tables["circuits"], switched)["value"]
        assert set(found.index) == {key for key in single if key[0] != "mlp"}
        for key in found.index:
            state = hybrid(before, after, single[key]) if switched == "on" else hybrid(after, before, single[key])
            expected = (log_p(model, state, sequences) - start)[:, 0].mean()
            assert found[key] == pytest.approx(expected, abs=2e-3), (switched, key)
    assert found.abs().median() > 0.1


def weights_of(*models):
    return [{name: weight.detach().clone() for name, weight in model.state_dict().items()} for model in models]


def same(torch, one, other):
    return all(
        list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)
        for first, second in zip(one, other, strict=True)
    )


def test_the_base_is_as_before_afterwards_and_after_an_error(torch, look, untrained, change, tiny_student, monkeypatch):
    from kdprobe.probing.circuits import effects
    from kdprobe.students.pool import StudentPool

    pool = StudentPool()
    students = [untrained, tiny_student(ALL), change(untrained.base, scramble)]
    before = weights_of(*(pool.bases.base(student.base, dtype="float32").model for student in students))
    look(students, count=1, exact=2, context={"pool": pool})
    after = [pool.bases.base(student.base, dtype="float32").model for student in students]
    assert same(torch, before, weights_of(*after))
    score, calls = effects.score, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr(effects, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        look(students, count=1, exact=2, context={"pool": pool})
    assert len(calls) == 9
    assert same(torch, before, weights_of(*after))


@pytest.mark.parametrize("late", [False, True])
def test_weights_are_restored_wherever_an_exchange_is_interrupted(torch, late, model_of, change, monkeypatch):
    from kdprobe.probing.circuits.division import divided
    from kdprobe.probing.circuits.exchange import exchanged

    record = model_of("phi3")
    base, student = Student("base", record).load(dtype="float32"), change(record, scramble).load(dtype="float32")
    division = divided(base, student)
    pieces = [piece for circuit in division.changed if circuit.head == 1 for piece in division.circuits[circuit]]
    models = (base.model, student.model)
    before, copy, interrupts = weights_of(*models), torch.Tensor.index_copy_, 0
    for step in range(100):
        calls = []

        def interrupted(self, *arguments, calls=calls, step=step):
            calls.append(1)
            if len(calls) == step + 1 and not late:
                raise KeyboardInterrupt
            copy(self, *arguments)
            if len(calls) == step + 1:
                raise KeyboardInterrupt
            return self

        monkeypatch.setattr(torch.Tensor, "index_copy_", interrupted)
        try:
            with exchanged(*models, pieces):
                assert not same(torch, before, weights_of(*models))
                break
        except KeyboardInterrupt:
            interrupts += 1
        finally:
            monkeypatch.setattr(torch.Tensor, "index_copy_", copy)
        assert same(torch, before, weights_of(*models))
    # While weights are exchanged, and while they are put back.
    assert interrupts >= 16
    assert same(torch, before, weights_of(*models))


def test_a_planted_head_comes_first_even_if_a_later_head_reads_it(torch, look, untrained, change):
    """Its output reaches the answer by way of a reader in the next layer, which patching puts first or as high."""
    first = untrained.base

    def amplify(model):
        # A head of the last layer whose output decides the answer.
        model.model.layers[1].self_attn.o_proj.weight[:, :8].mul_(16)

    base = change(first, amplify, "base")

    def edit(model):
        model.model.layers[0].self_attn.v_proj.weight[:8].mul_(3)

    students = [base, change(base.base, edit)]
    result = look(students, count=6, exact="all")
    gain = result.tables["gain"].query("problem == 'pooled'")["value"].iloc[0]
    assert abs(gain) > 1
    for switched, sign in (("on", 1), ("off", -1)):
        effects = pooled(result.tables["circuits"], switched)
        assert effects["value"].abs().idxmax() == ("v", 0, 0)
        assert effects["value"]["v", 0, 0] == pytest.approx(sign * gain, abs=1e-3)
        assert (effects["value"].drop(("v", 0, 0)) == 0).all()
    patching = look(students, 6, "patching", exact="all", into=["first"], random_sets=0).tables["patching"]
    rows = patching.query("problem == 'pooled' and method == 'exact' and metric == 'log_p_gold_solution'")
    outputs = rows.set_index(["layer", "head"])["value"].abs()
    # The two query heads that share these values, and every head above them, have other outputs.
    assert (outputs > 1e-3).sum() == 6
    assert outputs.idxmax() == (1, 0)
    evidence = result.tables["head_evidence"]
    own = evidence[[f"{kind}_exact" for kind in "qkvo"]].abs().sum(axis=1)
    assert set(map(tuple, evidence[own > 0][["layer", "head"]].to_numpy().tolist())) == {(0, 0), (0, 1)}
    (sentence,) = [sentence for sentence in result.statements if "own weights" in sentence]
    # In the direction of the gain, the reader is behind the planted head, whose partner shares its values.
    assert "the output of layer 0, head 0 (patching) shifts log p most" in sentence
    assert "is one of heads 0 and 1 of layer 0, which share a key-value head" in sentence


ADAPTERS = {
    "lora": {"target_modules": ALL},
    "all linear": {"target_modules": "all-linear"},
    "dora": {"target_modules": ALL, "use_dora": True},
    "rslora": {"target_modules": ALL, "use_rslora": True, "r": 4},
    "patterns": {"target_modules": ALL, "rank_pattern": {"q_proj": 3}, "alpha_pattern": {"layers.1.*v_proj": 9}},
    "some layers": {"target_modules": ALL, "layers_to_transform": [1]},
    "biases of factors": {"target_modules": ALL, "lora_bias": True},
    "saved": {"target_modules": ["v_proj"], "modules_to_save": ["q_proj", "input_layernorm"]},
    "saved output": {"target_modules": ALL, "modules_to_save": ["lm_head"]},
    "tokens": {"target_modules": ALL, "trainable_token_indices": [286, 263]},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "pissa": {"target_modules": ALL, "init_lora_weights": "pissa"},
}
REST = {
    "biases of factors": "the biases",
    "saved": "the norms",
    "saved output": "the output layer",
    "tokens": "the embeddings",
    "embeddings": "the embeddings",
}


@pytest.mark.filterwarnings("ignore")  # what peft says of its own adapters
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_every_kind_of_adapter_is_divided_completely(
    torch, kind, tied, tiny_record, tied_model, make_adapter, look, sequences
):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    record = resolve(str(tied_model)) if tied else tiny_record
    student = Student("tuned", record, make_adapter(record.path, 0, **ADAPTERS[kind]))
    result = look([Student("base", record), student], exact=0)
    attached = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(record.path), student.adapter).eval()
    plain = AutoModelForCausalLM.from_pretrained(record.path)
    gain = (log_p(attached, attached.state_dict(), sequences) - log_p(plain, plain.state_dict(), sequences)).mean(
        axis=0
    )
    for switched, sign in (("on", 1), ("off", -1)):
        for target, metric in enumerate(("log_p_gold_solution", "log_p_gold_value")):
            groups = pooled(result.tables["circuit_groups"], switched, metric)["value"]
            assert groups["everything", -1] == pytest.approx(sign * gain[target], abs=2e-3)
            assert (groups["rest", -1] == 0) == (kind not in REST)
            assert (groups["mlp", -1] == 0) == (kind != "all linear")
    said = " ".join(result.statements)
    assert (f"Outside the circuits, training changed {REST.get(kind)}" in said) == (kind in REST)
    assert ("Training changed nothing outside the circuits." in said) == (kind not in REST)


@pytest.mark.filterwarnings("ignore")
def test_rows_that_dora_turned_are_switched_as_they_are_merged(torch, tiny_record, tiny_student, look, sequences):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    student = tiny_student(ALL, use_dora=True)
    model = AutoModelForCausalLM.from_pretrained(tiny_record.path)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    after = PeftModel.from_pretrained(model, student.adapter).merge_and_unload().state_dict()
    found = pooled(look([Student("base", tiny_record), student], exact="all").tables["circuits"])["value"]
    plain = AutoModelForCausalLM.from_pretrained(tiny_record.path)
    start = log_p(plain, before, sequences)
    for kind, layer, head in (("o", 0, 3), ("k", 1, 0), ("q", 1, 2), ("v", 0, 1)):
        state = hybrid(before, after, slices("llama", kind, layer, head))
        expected = (log_p(plain, state, sequences) - start)[:, 0].mean()
        assert found[kind, layer, head] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2", "gpt_neox", "falcon"])
def test_the_screen_is_the_derivative_along_the_update(torch, family, model_of, change, sequences):
    """Against central differences in float64, with circuits found from the exact effects' own pieces."""
    from kdprobe.console import progress
    from kdprobe.probing.circuits.division import divided
    from kdprobe.probing.circuits.effects import gold_log_p
    from kdprobe.probing.circuits.screening import screened_updates

    record = model_of(family)
    base = Student("base", record).load(dtype="float32")
    student = change(record, scramble).load(dtype="float32")
    base.model.double()
    student.model.double()
    division = divided(base, student)
    with progress("test") as bar:
        circuits, estimates = screened_updates(division, base, sequences[:1], bar=bar)
    assert {circuit.kind for circuit in circuits} == set("qkvo")
    step = 1e-2
    for index in range(0, len(circuits), 3):
        (piece,) = division.circuits[circuits[index]]
        own, other = (
            model.get_submodule(piece.weight_name[0]).weight.detach() for model in (base.model, student.model)
        )
        update = torch.zeros_like(own).index_copy_(
            piece.dim, piece.index, (other - own).index_select(piece.dim, piece.index)
        )
        ends = []
        for way in (step, -step):
            own += way * update
            ends.append(gold_log_p(base, len(base.tokenizer), sequences[:1]))
            own -= way * update
        np.testing.assert_allclose(estimates[:, index], (ends[0] - ends[1]) / (2 * step), rtol=1e-2, atol=5e-3)
    assert np.abs(estimates).max() > 0.1


OTHERS = {
    **{name: {} for name in ("mixtral", "qwen3_moe", "gpt_oss", "opt", "granite", "cohere", "starcoder2", "olmo2")},
    "llama": {"num_key_value_heads": 1},
    "falcon": {"new_decoder_architecture": True, "num_kv_heads": 2},
}


@pytest.mark.parametrize("family", OTHERS)
def test_other_architectures_are_divided_completely(torch, family, model_of, change, look):
    record = model_of(family, **OTHERS[family])
    result = look([Student("base", record), change(record, scramble)], count=1, exact=2)
    groups = pooled(result.tables["circuit_groups"])["value"]
    gain = result.tables["gain"].query("problem == 'pooled'")["value"].iloc[0]
    assert groups["everything", -1] == pytest.approx(gain, abs=1e-4)
    assert (groups.abs() > 1e-4).all()


@pytest.mark.filterwarnings("ignore")  # what peft says of saving embeddings
def test_new_tokens_come_with_the_rest(torch, tiny_record, look, sequences, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_record.path)
    tokenizer.add_tokens(["<think>", "</think>"])
    base = AutoModelForCausalLM.from_pretrained(tiny_record.path)
    base.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    torch.manual_seed(5)
    trained = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        # A likely new token takes probability from all others.
        base.lm_head.weight[-1] = base.lm_head.weight[:50].mean(dim=0) * 3
        for weight in trained.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight), alpha=0.2)
    trained.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    result = look([Student("base", tiny_record), Student("tuned", tiny_record, tmp_path)], exact=0)
    plain = AutoModelForCausalLM.from_pretrained(tiny_record.path)
    first = log_p(plain, plain.state_dict(), sequences)
    groups = pooled(result.tables["circuit_groups"])["value"]
    gain = (log_p(trained, trained.state_dict(), sequences) - first)[:, 0].mean()
    assert groups["everything", -1] == pytest.approx(gain, abs=2e-3)
    with trained.disable_adapter():
        rest = (log_p(trained, trained.state_dict(), sequences) - first)[:, 0].mean()
    assert groups["rest", -1] == pytest.approx(rest, abs=2e-3)
    assert abs(rest) > 0.02
    assert any(
        "training changed the embeddings, the output layer and the vocabulary." in sentence
        for sentence in result.statements
    )


def test_padded_embeddings_are_part_of_the_rest(look, untrained, change):
    student = change(untrained.base, lambda model: model.resize_token_embeddings(model.config.vocab_size + 3))
    result = look([untrained, student], count=1)
    # Rows without tokens do not count.
    assert result.tables["circuit_groups"]["value"].abs().max() < 1e-4
    assert any("training changed the embeddings and the output layer." in sentence for sentence in result.statements)


def test_parameters_outside_every_circuit_are_named(torch, model_of, change, look):
    record = model_of("gpt_oss")

    def edit(model):
        model.model.layers[0].self_attn.sinks.add_(1.0)
        model.model.layers[1].mlp.experts.gate_up_proj_bias.add_(0.5)

    result = look([Student("base", record), change(record, edit)], count=2)
    assert any(
        "Outside the circuits, training changed the sinks and the biases." in sentence for sentence in result.statements
    )
    assert any("Training did not change Q, K, V, O and MLPs." in sentence for sentence in result.statements)
    groups = pooled(result.tables["circuit_groups"])["value"]
    assert set(groups[groups != 0].index) == {("rest", -1), ("everything", -1)}


@pytest.mark.parametrize("whole", [False, True])
def test_a_student_equal_to_its_base_has_effects_of_zero_and_it_is_said(whole, look, untrained, tiny_student, change):
    student = (
        change(untrained.base, lambda model: setattr(model.config, "pad_token_id", 0))
        if whole
        else (tiny_student(ALL, size=0))
    )
    result = look([untrained, student])
    for name in ("circuits", "circuit_groups", "gain"):
        assert (result.tables[name]["value"] == 0).all()
    for name in ("circuits", "circuit_groups"):
        assert result.tables[name]["share"].isna().all()
    assert any(
        sentence.endswith(
            "training changed no weights, so there is no gain to divide, and all effects are exactly zero."
        )
        for sentence in result.statements
    )
    assert not result.figures


def test_a_circuit_planted_in_every_seed_is_named_once_for_the_arm(torch, look, untrained, change):
    def plant(seed):
        def edit(model):
            model.model.layers[1].self_attn.o_proj.weight[:, :8].mul_(16 + seed)
            # Something smaller, in another circuit of each seed.
            model.model.layers[0].self_attn.q_proj.weight[8 * seed : 8 * (seed + 1)].mul_(1.05)

        return edit

    seeds = [change(untrained.base, plant(seed), f"planted@{seed}") for seed in range(3)]
    seeds = [replace(each, arm="planted", seed=seed) for seed, each in enumerate(seeds)]
    result = look([untrained, *seeds], count=8, exact=2)
    for start in ("with each part switched on alone in the base", "with each part switched off in the student"):
        (sentence,) = [
            each for each in result.statements if each.startswith(f"planted (3 seeds), {start}: the single circuit ")
        ]
        assert "first on the earlier folds (O of layer 1, head 0)" in sentence
    assert not any("planted@" in each for each in result.statements)
    assert len(result.figures) == 4
    effects = pooled(result.tables["circuits"].query("student == 'planted'"))
    assert effects["value"].abs().idxmax() == ("o", 1, 0)
    assert (effects["over"] == "seeds and problems").all()
    # The circuit that one seed changed has an effect of exactly zero in the others.
    alone = [pooled(result.tables["circuits"].query(f"student == 'planted@{seed}'"))["value"] for seed in range(3)]
    for circuit in effects.index:
        assert effects["value"][circuit] == pytest.approx(np.mean([each[circuit] for each in alone]), abs=1e-12)
    for head in range(3):
        assert [seed for seed in range(3) if alone[seed].get(("q", 0, head), 0.0) != 0] in ([], [head])


def test_several_students_of_one_base_are_examined_each(look, untrained, make_adapter):
    adapters = [make_adapter(untrained.base.path, seed, target_modules=ALL) for seed in (1, 2)]
    students = [
        Student(f"arm@{seed}", untrained.base, adapter, arm="arm", seed=seed) for seed, adapter in enumerate(adapters)
    ]
    result = look([untrained, *students], exact=2)
    alone = look([untrained, students[1]], exact=2)
    # Circuits that were selected on the same problems are not tested.
    assert pooled(result.tables["circuits"].query("student == 'arm@0'"))["p_over_problems"].isna().all()
    assert pooled(look([untrained, students[1]], exact="all").tables["circuits"])["p_over_problems"].notna().all()
    assert result.tables["gain"]["student"].unique().tolist() == ["arm@0", "arm@1"]
    for name in ("circuits", "circuit_groups", "head_evidence"):
        found = result.tables[name].query("student == 'arm@1'").reset_index(drop=True)
        assert found.equals(alone.tables[name]), name
    assert look([untrained, *students], exact=0, students=["arm"]).tables["gain"]["student"].nunique() == 2


def test_what_cannot_be_divided_is_refused(torch, look, untrained, change, model_of, make_adapter):
    with pytest.raises(KdprobeError, match="none of the students was trained"):
        look([untrained])
    latent = model_of("deepseek_v3")
    tuned = Student("tuned", latent, make_adapter(latent.path, 0, target_modules=["o_proj"]))
    with pytest.raises(
        KdprobeError, match=r"cannot divide the attention weights of this architecture \(deepseek_v3\) into heads"
    ):
        look([Student("base", latent), tuned])
    with pytest.raises(KdprobeError, match="The student and its base have different modules, such as"):
        look([untrained, Student("other", model_of("llama", num_hidden_layers=3))])
    with pytest.raises(KdprobeError, match="attention weights of the student and its base differ in shape"):
        look([untrained, Student("other", model_of("llama", num_key_value_heads=4))])

    def shift(model):
        scramble(model)
        model.config.rms_norm_eps = 0.5

    with pytest.raises(KdprobeError, match="the base does not reproduce the student's log-probabilities"):
        look([untrained, change(untrained.base, shift)])


def test_evidence_is_that_of_geometry_and_patching(look, untrained, tiny_student):
    students = [untrained, tiny_student(ALL)]
    evidence = look(students, exact="all").tables["head_evidence"].set_index(["layer", "head"])
    geometry = look(students, name="geometry").tables["geometry"].set_index(["circuit", "layer", "head"])["relative"]
    patching = look(students, name="patching", exact=1, into=["first"], random_sets=0).tables["patching"]
    rows = patching.query("problem == 'pooled' and method == 'gradient' and metric == 'log_p_gold_solution'")
    np.testing.assert_allclose(evidence["patching_gradient"], rows["value"], rtol=1e-6)
    for circuit in ("qk", "ov"):
        np.testing.assert_array_equal(evidence[circuit], geometry[circuit])
    effects = pooled(look(students, exact="all").tables["circuits"])["value"]
    for kind in "qkvo":
        shared = 2 if kind in "kv" else 1
        expected = [effects[kind, layer, head // shared] for layer, head in evidence.index]
        np.testing.assert_allclose(evidence[f"{kind}_exact"], expected)


def test_from_the_command_line_and_from_python(run_cli, tiny_model, tiny_student, problem_files, tmp_path):
    import kdprobe

    adapter = tiny_student(ALL).adapter
    printed = run_cli(
        *("probe", tiny_model, "--adapter", f"trained={adapter}", "--problems", problem_files[1], "--limit", 6),
        *("--analysis", "circuits", "--option", "circuits.exact=3", "--json", "--out", tmp_path),
    )
    found = json.loads(printed)["analyses"]["circuits"]["students"]["trained"]
    # What the earlier folds select is switched too.
    assert 3 <= len(found["circuits"]) < 3 * 5
    groups = {(group["group"], group["layer"]): group for group in found["groups"]}
    assert groups["everything", None]["on"] == pytest.approx(found["gain"], abs=1e-4)
    assert (tmp_path / "circuits" / "circuit_groups.parquet").is_file()
    probed = kdprobe.probe(
        tiny_model,
        adapters={"trained": adapter},
        problems=problem_files[1],
        limit=6,
        analyses=["circuits"],
        options={"circuits": {"exact": 3, "layers": False}},
    )
    assert probed.table("circuit_groups")["layer"].isna().all()
