"""The logit lens against the hidden states that transformers returns, in float64."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from kdprobe.students.student import Student

PARTS = ["steps", "step_numbers", "final_answer", "end_of_turn", "solution"]


@pytest.fixture(scope="module")
def look(torch, problems):
    """Runs the analysis on students; keywords are its options."""
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis

    def run(*students, context=None, **options):
        given = AnalysisContext(**{"students": students, "problems": problems, "batch_size": 3, **(context or {})})
        return run_analysis("logit_lens", Host().create("analyses", "logit_lens", options), given)

    return run


def plain_lens(student, problem, torch):
    """KL from the final distribution and log p of the gold token, `[layer, token]`, of the solution and its end."""
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(student.base.path), student.load_tokenizer()
    if student.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, student.adapter).merge_and_unload()
    chat = [{"role": "user", "content": problem.question}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    begin = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    whole = prompt + problem.plain_solution + tokenizer.eos_token
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    decoder = model.get_decoder()
    names = "norm", "ln_f", "norm_f", "final_layer_norm"
    norm = next(getattr(decoder, name) for name in names if hasattr(decoder, name))
    with torch.inference_mode():
        output = model.eval()(torch.tensor([ids]), output_hidden_states=True)
        # The embeddings come first, except in Mamba; the last are already normalised.
        read = output.hidden_states[model.config.model_type != "mamba" : -1][: model.config.num_hidden_layers - 1]
        layers = [model.lm_head(norm(states))[0] for states in read]
        if cap := getattr(model.config, "final_logit_softcapping", None):
            layers = [cap * torch.tanh(logits / cap) for logits in layers]
        layers = [logits * getattr(model.config, "logit_scale", 1.0) for logits in layers]
    rows = slice(begin - 1, len(ids) - 1)
    log_p = [log_softmax(logits[rows].double().numpy(), axis=-1) for logits in (*layers, output.logits[0])]
    kl = [(np.exp(log_p[-1]) * (log_p[-1] - each)).sum(axis=-1) for each in log_p]
    gold = np.arange(len(ids) - begin), ids[begin:]
    return np.array(kl), np.array([each[gold] for each in log_p])


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "phi3", "gpt2", "cohere", "opt"])
@pytest.mark.parametrize("rows", [3, 1000])
def test_layers_are_as_hidden_states_say(torch, look, model_of, problems, architecture, rows, monkeypatch):
    from kdprobe.probing.outputs.differences import reading

    monkeypatch.setattr(reading, "CHUNK_BYTES", rows * 4 * 400)
    student = Student("base", model_of(architecture))
    table = look(student, context={"problems": problems[:3]}).tables["logit_lens"]
    plain = [plain_lens(student, problem, torch) for problem in problems[:3]]
    for measure, index in (("kl", 0), ("log_p", 1)):
        expected = np.concatenate([each[index] for each in plain], axis=1)
        found = table.query(f"measure == '{measure}' and part == 'solution'")
        assert found["layer"].tolist() == list(range(len(expected)))
        np.testing.assert_allclose(found["value"], expected.mean(axis=1), rtol=1e-4, atol=1e-5)
        assert (found["tokens"] == expected.shape[1]).all()
        ends = np.mean([each[index][:, -1] for each in plain], axis=0)
        found = table.query(f"measure == '{measure}' and part == 'end_of_turn'")
        np.testing.assert_allclose(found["value"], ends, rtol=1e-4, atol=1e-5)
    last = table.query("measure == 'kl'").groupby("part").tail(1)
    # The last layer's lens is the model itself.
    assert (last[["value", "low", "high"]] == 0).all(axis=None)


def test_a_model_without_attention_has_layers_too(torch, look, other_families, problems):
    from kdprobe.models.reference import resolve

    student = Student("mamba", resolve(str(other_families["mamba"])))
    found = look(student, context={"problems": problems[:1]}).tables["logit_lens"].query("part == 'solution'")
    for measure, expected in zip(("kl", "log_p"), plain_lens(student, problems[0], torch), strict=True):
        values = found[found["measure"] == measure]["value"]
        np.testing.assert_allclose(values, expected.mean(axis=1), rtol=1e-4, atol=1e-5)


def test_changes_are_paired_by_problem(torch, look, tiny_record, tiny_student, problems):
    base, tuned = Student("base", tiny_record), tiny_student(["q_proj", "v_proj"])
    tables = look(base, tuned).tables
    means, changes = tables["logit_lens"], tables["logit_lens_change"]
    assert set(means["student"]) == {"base", "trained"}
    assert changes["part"].unique().tolist() == PARTS
    plain = [[plain_lens(student, problem, torch)[1] for problem in problems] for student in (base, tuned)]
    sums = np.array([(b - a).sum(axis=1) for a, b in zip(*plain, strict=True)])
    sizes = np.array([each.shape[1] for each in plain[0]])
    rows = changes.query("measure == 'log_p' and part == 'solution'")
    np.testing.assert_allclose(rows["value"], sums.sum(axis=0) / sizes.sum(), rtol=1e-3, atol=1e-5)
    left_out = (sums.sum(axis=0) - sums) / (sizes.sum() - sizes)[:, None]
    error = np.sqrt(5 / 6 * ((left_out - rows["value"].to_numpy()) ** 2).sum(axis=0))
    np.testing.assert_allclose(rows["standard_error"], error, rtol=1e-3)
    assert (rows["against"] == "base").all()
    assert rows["p_over_problems"].between(2 / 64, 1).all()


def test_identical_students_do_not_differ(look, tiny_record, make_adapter):
    copy = Student("copy", tiny_record, make_adapter(tiny_record.path, 1, size=0))
    result = look(Student("base", tiny_record), copy)
    changes = result.tables["logit_lens_change"]
    assert (changes[["value", "low", "high"]] == 0).all(axis=None)
    assert (changes["p_over_problems"] == 1).all()
    assert result.statements[-1] == (
        "copy compared with base: no difference in the log-probability of the gold token after any layer."
    )


def test_a_change_of_one_layer_shows_after_it_and_not_before(torch, look, tiny_record, tmp_path):
    from transformers import AutoModelForCausalLM

    from kdprobe.models.reference import resolve

    base = Student("base", tiny_record)
    model = AutoModelForCausalLM.from_pretrained(tiny_record.path)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.neg_()
    model.save_pretrained(tmp_path)
    base.load_tokenizer().save_pretrained(tmp_path)
    result = look(base, Student("turned", resolve(str(tmp_path))))
    rows = result.tables["logit_lens_change"].query("measure == 'log_p' and part == 'solution'")
    assert rows["value"].iloc[0] == 0 != rows["value"].iloc[1]
    assert "The largest difference is after layer 1: " in result.statements[-1]


def test_no_number_depends_on_padding_other_problems_or_the_order_of_students(
    look, tiny_record, make_adapter, problems
):
    base = Student("base", tiny_record)
    a, b = (Student(name, tiny_record, make_adapter(tiny_record.path, seed)) for seed, name in enumerate("ab"))
    found = [
        look(*order, context={"batch_size": size}).tables for order, size in (((base, a, b), 8), ((b, base, a), 1))
    ]
    for name in ("logit_lens", "logit_lens_change"):
        tables = [each[name].sort_values(["student", "measure", "part", "layer"], ignore_index=True) for each in found]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
    alone = [look(base, context={"problems": [problem]}).tables["logit_lens"] for problem in problems]
    table = found[0]["logit_lens"].query("student == 'base'").reset_index(drop=True)
    total = sum(each["value"] * each["tokens"] for each in alone) / sum(each["tokens"] for each in alone)
    np.testing.assert_allclose(table["value"], total, rtol=1e-12)


def test_strategies_of_three_seeds_are_averaged(look, tiny_record, make_adapter):
    students = [
        Student(f"none-{seed}", tiny_record, make_adapter(tiny_record.path, seed), arm="none", seed=seed)
        for seed in range(3)
    ]
    result = look(Student("base", tiny_record), *students)
    for name in ("logit_lens", "logit_lens_change"):
        values = result.tables[name].query("measure == 'log_p' and part == 'solution'").set_index("student")["value"]
        members = np.mean([values[f"none-{seed}"] for seed in range(3)], axis=0)
        np.testing.assert_allclose(values["none"], members, rtol=1e-12)
    names = [sentence.partition(":")[0] for sentence in result.statements]
    assert names == ["base", "none (3 seeds)", "none (3 seeds) compared with base"]


def test_what_is_said_depends_on_the_number_of_problems(look, tiny_record, tiny_student):
    from kdprobe.testing import some_problems

    students = Student("base", tiny_record), tiny_student(["q_proj"])
    few = look(*students, context={"problems": some_problems(5)})
    assert few.statements[-1].startswith(
        "trained compared with base: 5 problems are too few to tell after which layers the two differ. "
    )
    alone = look(*students, problems=1)
    assert "nats (too few problems for an interval)" in alone.statements[0]
    assert "1 problem is too few to tell" in alone.statements[-1]
    many = look(*students, context={"problems": some_problems(12)}, problems=12)
    rows = many.tables["logit_lens_change"].query("measure == 'log_p' and part == 'solution'")
    differing = rows[rows["p_over_problems"] < 0.05]["layer"].tolist()
    earliest = "the earliest being " if len(differing) > 1 else ""
    differs = f"differs significantly after {len(differing)} of 2 layers, {earliest}layer"
    said = differs if differing else "no significant difference in"
    assert said in many.statements[-1]


def test_an_unknown_norm_is_refused(look, tiny_record, monkeypatch):
    from kdprobe.errors import KdprobeError
    from kdprobe.probing.outputs.lens import streams

    monkeypatch.setattr(streams, "decoder_layers", lambda model: list(model.model.layers)[:1])
    with pytest.raises(KdprobeError, match=r"cannot find the norm after the last layer of this architecture \(llama\)"):
        look(Student("base", tiny_record))


def test_from_the_command_line(tiny_model, make_adapter, problem_files, run_cli, tmp_path):
    adapter = make_adapter(tiny_model, 3)
    data = json.loads(
        run_cli(
            *("probe", tiny_model, "--adapter", f"mine={adapter}", "--problems", problem_files[1]),
            *("--analysis", "logit_lens", "--option", "logit_lens.problems=6", "--out", tmp_path, "--json"),
        )
    )
    found = data["analyses"]["logit_lens"]
    table = pd.read_parquet(tmp_path / "logit_lens" / "logit_lens_change.parquet")
    expected = table.query("part == 'solution'")["value"].tolist()
    assert [row["value"] for row in found["changes"]] == expected
    assert "through the logit lens, by layer" in (tmp_path / "probe.html").read_text()
