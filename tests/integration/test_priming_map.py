"""The priming map against plain forward passes of transformers over the full vocabulary, in float64."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax
from scipy.stats import t

from taught import Here, assert_only_says, made_teaching, spelt_responses

FAMILIES = ["llama", "qwen3", "gemma2", "phi3", "gpt2"]
MEANS, STRATEGIES, RESPONSES, TOP, TOKENS = (
    f"priming_map{suffix}" for suffix in ("", "_strategies", "_responses", "_top", "_tokens")
)


@pytest.fixture(scope="module")
def responses(tiny_record, problems):
    from kdprobe.models.load import load_tokenizer

    return spelt_responses(load_tokenizer(tiny_record), problems)


@pytest.fixture(scope="module")
def teaching(torch, problems, conversations, responses, tiny_record):
    """Makes the teaching of two strategies, both with the same responses."""
    from kdprobe.models.load import load_tokenizer

    tokenizer = load_tokenizer(tiny_record)
    return lambda teacher, **changed: made_teaching(teacher, tokenizer, problems, conversations, responses, **changed)


def run(teaching, **options):
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis

    analysis = Host().create("analyses", "priming_map", options)
    return run_analysis("priming_map", analysis, AnalysisContext(teaching=teaching))


def plain_rows(model, tokenizer, prompt, text, torch):
    """Log-probabilities `[token, V]` of a text after a prompt, in float64."""
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *text]])).logits[0]
    return log_softmax(logits[len(prompt) - 1 : -1, : len(tokenizer)].double().numpy(), axis=-1)


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_token_is_as_plain_forward_passes_say(
    torch, teaching, model_of, problems, architecture, rows, monkeypatch
):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kdprobe.probing.outputs.differences import reading

    monkeypatch.setattr(reading, "CHUNK_BYTES", rows * 4 * 400)
    record = model_of(architecture)
    model = AutoModelForCausalLM.from_pretrained(record.path, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(record.path)
    given = teaching(Here(record))
    found = run(given, problems=3).tables[TOKENS].query("strategy == 'teacher'")
    primed = given.primings[1]
    for problem, response in zip(problems[:3], primed.responses, strict=False):
        chat = [{"role": "user", "content": problem.question}]
        asked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        prompts = primed.prompts[problem.id], tokenizer(asked, add_special_tokens=False)["input_ids"]
        assert len(prompts[0]) > len(prompts[1])
        ids = response.token_ids.tolist()
        log_p, log_q = (plain_rows(model, tokenizer, prompt, ids, torch) for prompt in prompts)
        table = found.query(f"problem == '{problem.id}'")
        kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
        np.testing.assert_allclose(table["kl"], kl, rtol=1e-4, atol=1e-6)
        # The ids of the response, not those of its text.
        assert table["token_id"].tolist() == ids
        index = np.arange(len(ids)), ids
        np.testing.assert_allclose(table["log_p_primed"], log_p[index], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(table["log_p_bare"], log_q[index], rtol=1e-4, atol=1e-5)
        assert table["primed_token"].tolist() == [tokenizer.decode([id_]) for id_ in log_p.argmax(axis=-1)]
        assert table["bare_token"].tolist() == [tokenizer.decode([id_]) for id_ in log_q.argmax(axis=-1)]
    assert found["kl"].max() > 0.01


@pytest.mark.parametrize("architecture", FAMILIES)
def test_without_priming_nothing_changes_at_all(teaching, model_of, architecture):
    result = run(teaching(Here(model_of(architecture))))
    tokens = result.tables[TOKENS].query("strategy == 'unprimed'")
    assert len(tokens) > 100
    assert (tokens["kl"] == 0).all()
    assert (tokens["log_p_primed"] == tokens["log_p_bare"]).all()
    row = result.tables[STRATEGIES].query("strategy == 'unprimed'").iloc[0]
    assert (row["value"], row["low"], row["high"], row["unchanged"], row["same_greedy"]) == (0, 0, 0, 6, 6)
    assert "unprimed: KL is exactly 0 at every token of 6 responses" in result.statements[1]
    assert "the most probable token at every position is the same after both prompts." in result.statements[2]
    assert set(result.tables[TOP]["strategy"]) == {"teacher"}


def test_one_changed_token_has_the_analytic_divergence(torch):
    """The priming changes the distribution of the third token, and no other."""
    from transformers import LlamaConfig

    from kdprobe.probing.priming.reading import token_changes

    p, q = [0.7, 0.2, 0.1], [0.1, 0.2, 0.7]
    primed, unprimed, text = [0], [1, 1], [2, 0, 1, 2]

    def states(ids):
        rows = torch.tensor([q] * (len(ids) - 1)).log()
        if ids[0] == 0:
            rows[-2] = torch.tensor(p).log()
        return rows

    teacher = SimpleNamespace(
        states=states,
        chunks=lambda count: [slice(start, start + 3) for start in range(0, count, 3)],
        output=SimpleNamespace(logits=lambda rows: rows + 5.0),
        loaded=SimpleNamespace(model=SimpleNamespace(config=LlamaConfig(max_position_embeddings=64))),
    )
    changes = token_changes(teacher, primed, unprimed, text)
    assert changes.kl[2] == pytest.approx(0.6 * np.log(7), rel=1e-5)
    assert (np.delete(changes.kl, 2) == 0).all()
    np.testing.assert_allclose(changes.log_p[2], np.log([0.2, 0.2]), rtol=1e-5)
    np.testing.assert_allclose(changes.log_p[0], np.log([0.7, 0.7]), rtol=1e-5)
    assert changes.greedy.tolist() == [[2, 2], [2, 2], [0, 2], [2, 2]]


def test_means_are_over_all_tokens_of_a_cell_with_intervals_over_problems(teaching, tiny_record):
    result = run(teaching(Here(tiny_record)))
    tables = result.tables
    tokens = tables[TOKENS].query("strategy == 'teacher'")
    means = tables[MEANS].query("strategy == 'teacher'")
    assert means.query("cell != 'response'").groupby("by")["share"].sum().tolist() == pytest.approx([1, 1])
    ranges = {"1": (1, 1), "2-4": (2, 4), "5-16": (5, 16), "17-64": (17, 64)}
    assert means.query("by == 'position'")["cell"].tolist() == list(ranges)
    for row in means.itertuples():
        first, last = ranges.get(row.cell, (1, 10_000))
        rows = tokens[tokens["position"].between(first, last)]
        if row.by == "part" and row.cell != "response":
            rows = rows[rows["part"] == row.cell]
        by_problem = rows.groupby("problem")["kl"]
        sums, sizes = by_problem.sum().to_numpy(), by_problem.size().to_numpy()
        assert (row.problems, row.tokens) == (len(sums), sizes.sum())
        assert row.value == pytest.approx(rows["kl"].mean())
        assert row.share == pytest.approx(rows["kl"].sum() / tokens["kl"].sum())
        left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
        error = np.sqrt((len(sums) - 1) / len(sums) * ((left_out - row.value) ** 2).sum())
        assert row.standard_error == pytest.approx(error)
        assert row.high - row.value >= t.ppf(0.975, len(sums) - 1) * error * (1 - 1e-9)
    largest = tokens["kl"].sort_values(ascending=False)[:20]
    assert tables[TOP]["kl"].tolist() == pytest.approx(largest.tolist())
    tenth = np.interp(len(tokens) / 10, range(len(tokens) + 1), np.append(0, tokens["kl"].sort_values()[::-1].cumsum()))
    row = tables[STRATEGIES].query("strategy == 'teacher'").iloc[0]
    assert row["top_share"] == pytest.approx(tenth / tokens["kl"].sum())
    first = tokens.query("position == 1")["kl"].sum() / tokens["kl"].sum()
    share = f"{100 * row['top_share']:.3g}%"
    assert f"Of the total KL, {share} is in the 10% of tokens with the largest KL, " in result.statements[2]
    assert f"{100 * first:.3g}% in the first token of each response" in result.statements[2]
    by_response = tables[RESPONSES].query("strategy == 'teacher'")
    assert row["unchanged"] == (by_response["value"] < 0.01).sum()
    expected = tokens.groupby("problem", sort=False)[["log_p_primed", "log_p_bare"]].sum()
    np.testing.assert_allclose(by_response[["log_p_primed", "log_p_bare"]], expected)


def test_a_threshold_above_every_response_calls_all_unchanged(teaching, tiny_record):
    result = run(teaching(Here(tiny_record)), smallest_effect=100)
    assert result.tables[STRATEGIES]["unchanged"].tolist() == [6, 6]
    assert "Its whole interval is below 100 nats: priming changes next to nothing." in result.statements[2]
    few = run(teaching(Here(tiny_record)), problems=5)
    assert "too few responses to tell" in few.statements[2]


def test_text_is_data_not_markup(teaching, tiny_record, responses, problems):
    from kdprobe.models.load import load_tokenizer

    ids = load_tokenizer(tiny_record)("<b>1</b>\n")["input_ids"]
    given = teaching(Here(tiny_record))
    marked = [replace(response, token_ids=np.array(ids)) for response in responses]
    primings = [replace(priming, strategy="<i>", responses=marked) for priming in given.primings[1:]]
    result = run(replace(given, primings=primings))
    for figure in result.figures:
        for trace in figure.plotly["data"]:
            texts = [text for row in trace.get("text", []) for text in row]
            shown = [*texts, *trace.get("y", []), trace.get("name", "")]
            assert not any("<" in text for text in shown if isinstance(text, str))
    assert "<" in "".join(result.tables[TOKENS]["token"])
    json.dumps([figure.plotly for figure in result.figures])


def test_the_map_of_tokens_shows_their_divergences_on_a_log_scale(teaching, tiny_record):
    result = run(teaching(Here(tiny_record)))
    (figure,) = [figure for figure in result.figures if "token by token" in figure.title]
    (trace,) = figure.plotly["data"]
    tokens = result.tables[TOKENS].query("strategy == 'teacher'")
    for problem, shown, colours, texts in zip(*(trace[name] for name in ("y", "customdata", "z", "text")), strict=True):
        rows = tokens.query(f"problem == '{problem}'")
        kl = rows["kl"].to_numpy()
        assert shown[: len(kl)] == pytest.approx(kl.tolist())
        assert colours[: len(kl)] == pytest.approx(np.log10(np.maximum(kl, 1e-4)).tolist())
        assert {*shown[len(kl) :], *colours[len(kl) :]} <= {None}
        assert len(texts) == len(shown)
    assert trace["zmin"] == -4
    assert 10 ** trace["zmax"] >= tokens["kl"].max()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"teacher": object()}, "runs elsewhere"),
        ({"primings": []}, "does not learn from a teacher's answers"),
    ],
)
def test_a_teacher_that_cannot_be_read_is_a_result_that_says_so(teaching, tiny_record, change, reason):
    result = run(teaching(**{"teacher": Here(tiny_record), **change}))
    assert_only_says(result, reason)


def test_prompts_that_are_not_known_are_not_made_up(teaching, tiny_record):
    given = teaching(Here(tiny_record))
    result = run(replace(given, primings=[replace(priming, prompts={}) for priming in given.primings]))
    assert not result.tables
    assert "The prompts that the teacher read were not recorded." in result.statements[0]


def test_a_context_that_is_too_short_is_said(teaching, model_of):
    result = run(teaching(Here(model_of("gpt2", n_positions=32))))
    assert not result.tables
    assert "the teacher's context window is 32" in result.statements[0]


def test_it_needs_an_experiment(tiny_model, problem_files):
    import kdprobe
    from kdprobe.errors import KdprobeError

    with pytest.raises(KdprobeError, match="needs teaching"):
        kdprobe.probe(str(tiny_model), problems=str(problem_files[1]), analyses=["priming_map"], progress=False)


@pytest.fixture(scope="module")
def finished(tiny_config, tiny_model, run_cli, tmp_path_factory):
    """A finished run with both analyses: its store and its JSON."""
    store = tmp_path_factory.mktemp("store")
    config = tiny_config(tiny_model, extra='analyses = ["priming_map", "priming_gain"]')
    return store, json.loads(run_cli("run", config, "--store", store, "--json")), config


def table_of(store, name):
    (file,) = store.glob(f"stages/analyse/*/{name}.parquet")
    return pd.read_parquet(file)


def test_in_an_experiment_the_map_comes_before_training(finished, tiny_model, tiny_config):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.registry import Host

    _, _, config = finished
    plan = make_plan(load_experiment(config, Host()), Host())
    kinds = [stage.kind for stage in plan.stages]
    assert kinds[:4] == ["transfer", "transfer", "analyse", "distill"]
    assert plan.stages[2].name == "priming_map"
    assert [stage.kind for stage in plan.stages[2].inputs] == ["transfer", "transfer"]
    # More seeds train more students, but the teacher stays the same.
    more = load_experiment(config, Host()).model_copy(update={"seeds": [0, 1]})
    again = make_plan(more, Host())
    assert again.analyses["priming_map"].key == plan.analyses["priming_map"].key
    assert again.analyses["priming_gain"].key != plan.analyses["priming_gain"].key


def test_in_an_experiment_the_map_is_on_the_page(finished):
    store, data, _ = finished
    statements = data["analyses"]["priming_map"]["statements"]
    assert statements[1].startswith("unprimed: KL is exactly 0 at every token of 4 responses")
    assert statements[2].startswith("teacher: KL is ")
    assert table_of(store, TOKENS).query("strategy == 'teacher'")["kl"].max() > 0
    page = next(store.glob("runs/*/report.html")).read_text()
    assert "KL(primed || bare) of the teacher, by part of the response" in page
    assert "Predicted and realised change in log p(gold value), by problem" in page


def test_the_map_is_noted_before_training(tiny_config, tiny_model, tmp_path, capsys):
    import kdprobe

    config = tiny_config(tiny_model, extra='analyses = ["priming_map"]')
    kdprobe.run(config, store=tmp_path)
    noted = capsys.readouterr().err
    assert noted.index("teacher: KL is ") < noted.index("distill fine-tuned")


def test_gains_are_as_plain_forward_passes_and_records_say(torch, finished, tiny_model, problem_files):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kdprobe.strategies.plugin import TEACHER

    store, data, _ = finished
    found = table_of(store, "priming_gain_problems").query("measure == 'solution'")
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = [json.loads(line) for line in problem_files[1].read_text().splitlines()][:4]
    for row, (_, gain) in zip(rows, found.iterrows(), strict=True):
        gold = tokenizer(row["answer"].split("<<")[0] + row["answer"].split(">>")[1])["input_ids"]
        log_p = []
        for content in (row["question"], f"{TEACHER}\n\n{row['question']}"):
            chat = [{"role": "user", "content": content}]
            text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            rows_of = plain_rows(model, tokenizer, tokenizer(text)["input_ids"], gold, torch)
            log_p.append(rows_of[np.arange(len(gold)), gold].sum())
        assert gain["teacher_bare"] == pytest.approx(log_p[0], rel=1e-5)
        assert gain["teacher_primed"] == pytest.approx(log_p[1], rel=1e-5)
        assert gain["predicted"] == pytest.approx(log_p[1] - log_p[0], rel=1e-4, abs=1e-4)
    records = {}
    for file in store.glob("stages/evaluate/*/records.parquet"):
        name = json.loads((file.parent / "stage.json").read_text())["name"]
        records[name] = pd.read_parquet(file).set_index("id")["log_p_gold_solution"]
    realised = (records["teacher"] - records["unprimed"])[found["problem"]]
    assert found["realised"].tolist() == pytest.approx(realised.tolist())
    (statement,) = data["analyses"]["priming_gain"]["statements"][1:]
    # Four problems allow no conclusion.
    assert statement.startswith("teacher: the mean predicted change in log p(gold value) is ")
    assert "too few for an interval" in statement


def gold_records(problems, seed):
    """Random log p(gold) as in an evaluation."""
    random = np.random.default_rng(seed)
    return [
        {"id": problem.id, "log_p_gold_value": random.normal(), "log_p_gold_solution": random.normal() * 9}
        for problem in problems
    ]


def run_gain(teaching, problems, arms, /, **options):
    """Runs `priming_gain` on students with random records; `arms` are names with seeds."""
    from kdprobe.host.registry import Host
    from kdprobe.models.reference import resolve
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.students.student import Student

    record = resolve(str(teaching.teacher.record.path))
    students = [Student(f"{arm}@{seed}", record, arm=arm, seed=seed) for arm, seed in arms]
    records = {student.name: gold_records(problems, index) for index, student in enumerate(students)}
    context = AnalysisContext(students, problems, records=records, teaching=teaching)
    return run_analysis("priming_gain", Host().create("analyses", "priming_gain", options), context), records


def test_students_are_paired_by_seed(teaching, tiny_record, problems):
    """In whatever order they come; a seed that one side lacks does not count."""
    arms = [("teacher", 2), ("unprimed", 0), ("teacher", 0), ("unprimed", 2), ("teacher", 5), ("unprimed", 1)]
    arms += [("teacher", 1), ("untrained", 0)]
    result, records = run_gain(teaching(Here(tiny_record)), problems, arms)
    table = result.tables["priming_gain"].query("measure == 'value'").set_index("student")
    assert table.index.tolist() == ["teacher@2", "teacher@0", "teacher@1", "teacher"]
    assert table["seeds"].tolist() == [1, 1, 1, 3]
    values = {name: np.array([row["log_p_gold_value"] for row in rows]) for name, rows in records.items()}
    changes = {seed: values[f"teacher@{seed}"] - values[f"unprimed@{seed}"] for seed in range(3)}
    for seed, change in changes.items():
        assert table["realised"][f"teacher@{seed}"] == pytest.approx(change.mean())
    assert table["realised"]["teacher"] == pytest.approx(np.mean([*changes.values()]))
    by_problem = result.tables["priming_gain_problems"].query("student == 'teacher' and measure == 'value'")
    assert by_problem["realised"].tolist() == pytest.approx(np.mean([*changes.values()], axis=0).tolist())
    assert len(result.statements) == 2
    assert result.statements[1].startswith("teacher (mean of 3 seeds): ")


def test_only_the_first_problems_are_read(teaching, tiny_record, problems):
    arms = [("teacher", 0), ("unprimed", 0)]
    result, _ = run_gain(teaching(Here(tiny_record)), problems, arms, problems=4)
    assert result.tables["priming_gain"]["problems"].tolist() == [4, 4]


@pytest.mark.parametrize(
    ("kept", "reason"), [(0, "No strategy primes the teacher"), (1, "No strategy gives the teacher the bare question")]
)
def test_without_a_primed_and_an_unprimed_teacher_there_is_no_gain(teaching, tiny_record, problems, kept, reason):
    given = teaching(Here(tiny_record))
    result, _ = run_gain(replace(given, primings=[given.primings[kept]]), problems, [("teacher", 0), ("unprimed", 0)])
    assert not result.tables
    assert reason in result.statements[0]


def test_a_strategy_that_shows_gold_solutions_is_not_tested(tiny_config, tiny_model, tmp_path):
    import kdprobe

    def leaky(problem):
        """Shows the teacher the gold solution."""
        return f"{problem.question} The answer is {problem.value}."

    config = tiny_config(tiny_model, strategies='["none", "leaky"]', extra='analyses = ["priming_gain"]')
    run = kdprobe.run(config, store=tmp_path, strategies={"leaky": leaky}, progress=False)
    assert run.analyses.table("priming_gain")["sees_gold"].all()
    assert "depend on the gold solutions" in run.analyses.statements["priming_gain"][1]


def test_without_a_transfer_set_both_say_so(tiny_config, tiny_model, tmp_path):
    import kdprobe

    config = tiny_config(tiny_model, extra='analyses = ["priming_map", "priming_gain"]')
    text = config.read_text().replace('name = "logits"', 'name = "fine-tune"')
    config.write_text(text)
    run = kdprobe.run(config, store=tmp_path, progress=False)
    for name in ("priming_map", "priming_gain"):
        (statement,) = run.analyses.statements[name]
        assert "does not learn from a teacher's answers" in statement
