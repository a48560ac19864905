"""Output differences against plain forward passes of transformers over the full vocabulary, in float64."""

import gc
import json
import weakref

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, logsumexp
from scipy.stats import t

from kdprobe.students.student import Student

FAMILIES = ["llama", "qwen3", "gemma2", "phi3", "gpt2"]
MEANS, FIRST, TOKENS = "output_divergence", "output_divergence_first", "output_divergence_tokens"


@pytest.fixture(scope="module")
def compare(torch, problems):
    """Runs the analysis on students; keywords are its options."""
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis

    def run(*students, context=None, **options):
        given = AnalysisContext(**{"students": students, "problems": problems, "batch_size": 3, **(context or {})})
        return run_analysis(MEANS, Host().create("analyses", MEANS, options), given)

    return run


@pytest.fixture(scope="module")
def changed(torch, model_of, tmp_path_factory):
    """Writes a copy of a random model of an architecture with all weights changed a little; returns both students."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kdprobe.models.reference import resolve

    def make(architecture, size=0.02):
        record, folder = model_of(architecture), tmp_path_factory.mktemp("changed")
        model = AutoModelForCausalLM.from_pretrained(record.path)
        torch.manual_seed(3)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight), alpha=size)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(record.path).save_pretrained(folder)
        return Student("base", record), Student("tuned", resolve(str(folder)))

    return make


def plain_rows(student, ids, torch):
    """Log-probabilities `[position, V]` of a text, in float64."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(student.base.path, dtype=torch.float32)
    if student.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, student.adapter)
    with torch.inference_mode():
        logits = model.eval()(torch.tensor([ids])).logits[0]
    return log_softmax(logits[:, : len(student.load_tokenizer())].double().numpy(), axis=-1)


def plain_text(tokenizer, problem):
    """The ids of a problem with its gold solution and end of turn."""
    chat = [{"role": "user", "content": problem.question}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    texts = [prompt, problem.plain_solution, tokenizer.eos_token]
    return [token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


def plain_differences(first, second, problem, torch):
    """KL, JS and both greedy tokens of every token but the first, and the ids."""
    ids = plain_text(first.load_tokenizer(), problem)
    log_p, log_q = (plain_rows(student, ids, torch)[:-1] for student in (first, second))
    log_m = logsumexp([log_p, log_q], axis=0) - np.log(2)
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
    js = sum((np.exp(rows) * (rows - log_m)).sum(axis=-1) for rows in (log_p, log_q)) / 2
    return kl, js, log_p.argmax(axis=-1), log_q.argmax(axis=-1), ids


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_token_is_as_plain_forward_passes_say(torch, compare, changed, problems, architecture, rows, monkeypatch):
    from kdprobe.probing.outputs.differences import reading

    monkeypatch.setattr(reading, "CHUNK_BYTES", rows * 4 * 400)
    base, tuned = changed(architecture)
    tables = compare(base, tuned, context={"problems": problems[:3]}).tables
    decode = base.load_tokenizer().decode
    for problem in problems[:3]:
        found = tables[TOKENS].query(f"problem == '{problem.id}'")
        kl, js, p_greedy, q_greedy, ids = plain_differences(base, tuned, problem, torch)
        np.testing.assert_allclose(found["kl"], kl, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["js"], js, rtol=1e-4, atol=1e-6)
        assert found["position"].tolist() == list(range(1, len(ids)))
        assert found["token"].tolist() == [decode([token]) for token in ids[1:]]
        assert found["against_token"].tolist() == [decode([token]) for token in p_greedy]
        assert found["student_token"].tolist() == [decode([token]) for token in q_greedy]
    assert tables[TOKENS]["js"].max() > 0.01


def test_means_are_over_all_tokens_of_a_part_with_intervals_over_problems(torch, compare, tiny_record, tiny_student):
    tables = compare(Student("base", tiny_record), tiny_student(["q_proj", "v_proj"])).tables
    means, tokens = tables[MEANS], tables[TOKENS]
    solution = ["steps", "step_numbers", "final_answer", "end_of_turn"]
    assert means["part"].tolist() == [*["template", "question", "question_numbers", *solution, "solution"]] * 2
    for row in means.itertuples():
        rows = tokens[tokens["part"].isin(solution if row.part == "solution" else [row.part])]
        by_problem = rows.groupby("problem")[row.measure]
        sums, sizes = by_problem.sum().to_numpy(), by_problem.size().to_numpy()
        assert (row.problems, row.tokens, row.over, row.seeds) == (6, sizes.sum(), "problems", 1)
        assert row.value == pytest.approx(rows[row.measure].mean())
        left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
        error = np.sqrt(5 / 6 * ((left_out - row.value) ** 2).sum())
        assert row.standard_error == pytest.approx(error)
        # Up to n - 1 degrees of freedom.
        assert row.high - row.value >= t.ppf(0.975, 5) * error * (1 - 1e-9)
        assert row.low == pytest.approx(max(0, 2 * row.value - row.high))
    assert len(tokens) == means.query("measure == 'js' and part != 'solution'")["tokens"].sum()


def test_every_token_belongs_to_the_right_part(compare, tiny_record, tiny_student, problems):
    tokens = compare(Student("base", tiny_record), tiny_student(["q_proj"])).tables[TOKENS]
    for problem in problems:
        of_problem = tokens.query(f"problem == '{problem.id}'")
        texts = of_problem.groupby("part")["token"].agg("".join)
        assert texts["final_answer"] == f"#### {problem.value}"
        assert texts["end_of_turn"] == "<|im_end|>"
        # The template's first token is not predicted.
        assert texts["template"] == "user\n<|im_end|>\n<|im_start|>assistant\n"
        numbers = {part: [int(number) for number in texts[part].split()] for part in ("question_numbers",)}
        asked = [int(word.strip(".,?")) for word in problem.question.split() if word.strip(".,?").isdigit()]
        assert "".join(map(str, numbers["question_numbers"])) == "".join(map(str, asked))
        shown = of_problem[of_problem["part"].isin(["question", "question_numbers"])]["token"]
        assert "".join(shown) == problem.question
        shown = of_problem[of_problem["part"].isin(["steps", "step_numbers"])]
        steps = problem.plain_solution.partition("####")[0]
        assert "".join(shown["token"]) == steps
        digits = shown[shown["token"].str.contains(r"\d")]
        assert (digits["part"] == "step_numbers").all()
        assert not shown[shown["part"] == "steps"]["token"].str.contains(r"\d").any()


def test_identical_students_do_not_differ_at_all(compare, tiny_record, make_adapter):
    base = Student("base", tiny_record)
    copies = [
        Student(name, tiny_record, make_adapter(tiny_record.path, seed, size=0)) for seed, name in enumerate("ab")
    ]
    result = compare(base, *copies, pairs=True)
    assert (result.tables[TOKENS]["js"] == 0).all()
    assert (result.tables[TOKENS]["kl"].dropna() == 0).all()
    assert (result.tables[MEANS][["value", "low", "high"]] == 0).all(axis=None)
    assert result.tables[FIRST]["position"].isna().all()
    assert result.statements[1:] == [
        f"{both}: no difference. Their next-token distributions are identical at every token."
        for both in ("a and base", "b and base", "b and a")
    ]


def test_a_planted_difference_comes_first(torch, compare, tiny_record, problems, tmp_path):
    """The embedding of one token is changed: nothing may differ before it is read, and something must right after."""
    from transformers import AutoModelForCausalLM

    from kdprobe.models.reference import resolve

    base = Student("base", tiny_record)
    tokenizer = base.load_tokenizer()
    texts = [plain_text(tokenizer, problem) for problem in problems]
    solutions = [tokenizer(problem.plain_solution, add_special_tokens=False)["input_ids"] for problem in problems]
    begins = [len(text) - len(solution) - 1 for text, solution in zip(texts, solutions, strict=True)]
    # A token that occurs in every solution, and in no question.
    asked = {token for text, begin in zip(texts, begins, strict=True) for token in text[:begin]}
    planted = min(set.intersection(*map(set, solutions)) - asked)
    model = AutoModelForCausalLM.from_pretrained(tiny_record.path)
    with torch.no_grad():
        model.model.embed_tokens.weight[planted] += 3 * torch.randn(32, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    result = compare(base, Student("planted", resolve(str(tmp_path))), threshold=0)
    first = result.tables[FIRST]
    assert first.query("within == 'prompt'")["position"].isna().all()
    parted = first.query("within == 'solution'").reset_index(drop=True)
    expected = [text.index(planted) + 1 for text in texts]
    assert parted["position"].tolist() == expected
    assert parted["token_id"].tolist() == [text[where] for text, where in zip(texts, expected, strict=True)]
    assert all(
        tokenizer.decode([planted]) == before[-len(tokenizer.decode([planted])) :] for before in parted["before"]
    )
    tokens = result.tables[TOKENS]
    for id_, where in zip(parted["problem"], expected, strict=True):
        of_problem = tokens.query(f"problem == '{id_}'")
        assert (of_problem.query(f"position < {where}")[["js", "kl"]] == 0).all(axis=None)
    assert "in 6 of 6 gold solutions, the Jensen-Shannon divergence exceeds 0 nats somewhere" in result.statements[-1]


def test_students_part_where_greedy_tokens_first_differ(torch, compare, changed, problems):
    base, tuned = changed("llama")
    result = compare(base, tuned)
    first, decode = result.tables[FIRST], base.load_tokenizer().decode
    earliest = []
    for problem in problems:
        _, js, p_greedy, q_greedy, ids = plain_differences(base, tuned, problem, torch)
        begin = len(ids) - 1 - len(base.load_tokenizer()(problem.plain_solution)["input_ids"])
        differ = np.flatnonzero(p_greedy != q_greedy) + 1
        for within, where in (("prompt", differ[differ < begin]), ("solution", differ[differ >= begin])):
            row = first.query(f"problem == '{problem.id}' and within == '{within}'").iloc[0]
            if not len(where):
                assert pd.isna(row["position"])
                continue
            assert row["position"] == where[0]
            assert row["js"] == pytest.approx(js[where[0] - 1], rel=1e-4)
            assert row["against_token_id"] == p_greedy[where[0] - 1]
            assert row["student_token_id"] == q_greedy[where[0] - 1]
            assert row["student_token"] == decode([q_greedy[where[0] - 1]])
            assert row["before"] == decode(ids[max(0, where[0] - 16) : where[0]])
            if within == "solution":
                earliest.append((where[0] - begin, problem.id))
    assert earliest
    said = f"in {len(earliest)} of 6 gold solutions, their greedy next tokens differ somewhere. "
    assert said in result.statements[-1]
    first = min(earliest, key=lambda each: each[0])[1]
    assert f"The earliest such token in a solution is in problem {first!r}" in result.statements[-1]


def test_the_same_greedy_token_is_not_said_to_differ(compare, tiny_record, make_adapter):
    students = Student("base", tiny_record), Student("near", tiny_record, make_adapter(tiny_record.path, 0, size=1e-3))
    result = compare(*students, threshold=0)
    row = result.tables[FIRST].query("within == 'solution'").iloc[0]
    assert row["student_token_id"] == row["against_token_id"]
    assert f": both continue with {row['student_token']!r}." in result.statements[-1]


def test_different_tokens_of_the_same_text_are_told_apart(tiny_record):
    from kdprobe.probing.outputs.differences.measured import Pair
    from kdprobe.probing.outputs.differences.parting import Parting
    from kdprobe.probing.outputs.differences.report import _continuations

    tokenizer = Student("base", tiny_record).load_tokenizer()
    # Parts of characters are decoded to the same replacement.
    first, second = [id_ for id_ in range(len(tokenizer)) if tokenizer.decode([id_]) == "\ufffd"][:2]
    pair = Pair("tuned", "tuned", 0, "base", against_untrained=True, texts=[], differences=[])
    parting = Parting(pair, "p", (0, 1), "solution", 1, position=1, student_token=first, against_token=second)
    assert _continuations(parting, tokenizer) == (
        f"base continues with '\ufffd' (token {second}), tuned with '\ufffd' (token {first})"
    )


@pytest.mark.parametrize("architecture", FAMILIES)
def test_no_number_depends_on_padding_or_on_other_problems(compare, changed, problems, architecture):
    students = changed(architecture)
    together = compare(*students, context={"batch_size": 8}).tables[TOKENS]
    backwards = compare(*students, context={"problems": problems[::-1], "batch_size": 1}).tables[TOKENS]
    alone = pd.concat(
        [compare(*students, context={"problems": [problem]}).tables[TOKENS] for problem in problems], ignore_index=True
    )
    pd.testing.assert_frame_equal(together, alone)
    order = {problem.id: place for place, problem in enumerate(problems)}
    backwards = backwards.sort_values("problem", key=lambda ids: ids.map(order), kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(together, backwards)


def test_the_order_of_students_does_not_matter(compare, tiny_record, make_adapter):
    base = Student("base", tiny_record)
    a, b, c = (Student(name, tiny_record, make_adapter(tiny_record.path, seed)) for seed, name in enumerate("abc"))
    tables = [compare(*order, pairs=True).tables for order in ((base, a, b, c), (c, base, b, a), (b, c, a, base))]
    assert len(tables[0][MEANS]) == 3 * 2 * 8 + 3 * 8

    def sorted_rows(table, columns):
        names = table[["student", "against"]]
        unordered = table.assign(pair=names.apply(lambda row: " ".join(sorted(row)), axis=1))
        return unordered.sort_values(["pair", *columns], ignore_index=True).drop(columns=["student", "against"])

    for other in tables[1:]:
        for name, columns in ((MEANS, ["measure", "part"]), (TOKENS, ["problem", "position"])):
            kept = [column for column in tables[0][name] if column not in {"student_token", "against_token"}]
            expected, found = (sorted_rows(each[name][kept], columns) for each in (tables[0], other))
            pd.testing.assert_frame_equal(expected, found, check_exact=True)
        assert (other[MEANS].query("measure == 'kl'")["against"] == "base").all()


def test_pairs_are_as_plain_forward_passes_say(torch, compare, tiny_record, make_adapter, problems):
    base = Student("base", tiny_record)
    a, b = (Student(name, tiny_record, make_adapter(tiny_record.path, seed)) for seed, name in enumerate("ab", 5))
    tokens = compare(base, a, b, pairs=True, context={"problems": problems[:2]}).tables[TOKENS]
    for problem in problems[:2]:
        found = tokens.query(f"problem == '{problem.id}' and student == 'b' and against == 'a'")
        np.testing.assert_allclose(found["js"], plain_differences(a, b, problem, torch)[1], rtol=1e-4, atol=1e-6)
        assert found["kl"].isna().all()
    # Only chosen students are compared, and with each other only if asked.
    assert set(compare(base, a, b).tables[MEANS]["against"]) == {"base"}
    assert set(compare(base, a, b, students=["b"], pairs=True).tables[MEANS]["student"]) == {"b"}


def test_strategies_of_three_seeds_are_averaged_over_seeds_and_problems(compare, tiny_record, make_adapter):
    students = [
        Student(f"{arm}-{seed}", tiny_record, make_adapter(tiny_record.path, 10 * place + seed), arm=arm, seed=seed)
        for place, (arm, seeds) in enumerate({"none": 3, "few": 2}.items())
        for seed in range(seeds)
    ]
    result = compare(Student("base", tiny_record), *students)
    table = result.tables[MEANS].query("measure == 'js' and part == 'solution'").set_index("student")
    assert table.loc["none", "value"] == pytest.approx(table.loc[["none-0", "none-1", "none-2"], "value"].mean())
    assert table.loc["none", ["over", "seeds", "problems"]].tolist() == ["seeds and problems", 3, 6]
    assert "few" not in table.index
    names = [sentence.split(" and base")[0] for sentence in result.statements[1:]]
    assert names == ["none (3 seeds)", "few-0", "few-1"] * 2
    assert "of 18 readings (6 gold solutions, each read by 3 students), their greedy" in result.statements[4]
    assert [trace["name"] for trace in result.figures[0].plotly["data"]] == ["none", "few-0", "few-1"]


def test_what_is_said_depends_on_the_smallest_effect_and_the_number_of_problems(compare, tiny_record, tiny_student):
    students = Student("base", tiny_record), tiny_student(["q_proj"])
    row = compare(*students).tables[MEANS].query("measure == 'js' and part == 'solution'").iloc[0]
    for smallest, said in (
        (row["low"] * 0.9, "The whole interval of the Jensen-Shannon divergence is above"),
        (row["value"], "The interval of the Jensen-Shannon divergence includes"),
        (row["high"] * 1.1, "The whole interval of the Jensen-Shannon divergence is below"),
    ):
        sentence = compare(*students, smallest_effect=smallest).statements[1]
        assert f". {said} {smallest:g} nats" in sentence
        assert f"is {row['value']:.3g} nats ({row['low']:.3g} to {row['high']:.3g})" in sentence
    from kdprobe.testing import some_problems

    sentence = compare(*students, context={"problems": some_problems(5)}).statements[1]
    assert ". 5 problems are too few to tell whether the Jensen-Shannon divergence exceeds 0.01 nats." in sentence
    alone = compare(*students, context={"problems": some_problems(1)})
    assert "nats (too few problems for an interval)" in alone.statements[1]
    assert "1 problem is too few to tell" in alone.statements[1]
    assert alone.tables[MEANS][["low", "high", "standard_error"]].isna().all(axis=None)


def test_no_interval_leaves_the_range_of_the_divergence(torch, compare, changed, problems):
    """With two problems, Student's t is so wide that unlimited intervals would reach beyond 0 and log 2."""
    means = compare(*changed("llama", size=0.5), context={"problems": problems[:2]}).tables[MEANS]
    assert (means["low"] <= means["value"]).all()
    assert means["low"].min() == 0
    js, kl = (means[means["measure"] == measure] for measure in ("js", "kl"))
    assert js["high"].max() == np.log(2)
    assert (js["high"] >= js["value"]).all()
    assert kl["high"].max() > 2


def test_students_of_other_architectures_are_as_plain_forward_passes_say(
    torch, compare, tiny_record, other_families, problems
):
    """Mamba casts its hidden states to the data type of the output layer's weight."""
    from kdprobe.models.reference import resolve

    base, mamba = Student("base", tiny_record), Student("mamba", resolve(str(other_families["mamba"])))
    found = compare(base, mamba, context={"problems": problems[:1]}).tables[TOKENS]
    kl, js, *_ = plain_differences(base, mamba, problems[0], torch)
    np.testing.assert_allclose(found["kl"], kl, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["js"], js, rtol=1e-4, atol=1e-6)


def test_rows_without_a_token_never_count(torch, compare, tiny_record, make_adapter, problems, tmp_path):
    from transformers import AutoModelForCausalLM

    from kdprobe.models.reference import resolve

    model = AutoModelForCausalLM.from_pretrained(tiny_record.path)
    vocabulary = model.config.vocab_size
    model.resize_token_embeddings(vocabulary + 24)
    with torch.no_grad():
        model.lm_head.weight[vocabulary:] = 9 * model.lm_head.weight[:24]
    folder = tmp_path / "padded"
    model.save_pretrained(folder)
    Student("base", tiny_record).load_tokenizer().save_pretrained(folder)
    padded = resolve(str(folder))
    base, tuned = Student("base", padded), Student("tuned", padded, make_adapter(folder, 1, target_modules=["o_proj"]))
    found = compare(base, tuned, context={"problems": problems[:1]}).tables[TOKENS]
    kl, js, *_ = plain_differences(base, tuned, problems[0], torch)
    np.testing.assert_allclose(found["kl"], kl, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["js"], js, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_compared_is_refused_in_a_sentence(compare, tiny_record, tiny_student, stranger, monkeypatch):
    from kdprobe.errors import KdprobeError, UsageError
    from kdprobe.models.reference import resolve
    from kdprobe.probing.outputs import unembedding

    base, trained = Student("base", tiny_record), tiny_student(["q_proj"])
    with pytest.raises(UsageError, match=r"^'odd' has a different vocabulary from the untrained model 'base'\. "):
        compare(base, trained, Student("odd", resolve(str(stranger))))
    with pytest.raises(KdprobeError, match="needs a student besides the untrained model 'base'"):
        compare(base)
    with pytest.raises(UsageError, match="unknown student 'nobody'"):
        compare(base, trained, students=["nobody"])
    # A model that does something else to its logits than kdprobe knows.
    monkeypatch.setattr(unembedding.Unembedding, "logits", lambda self, states: states @ self.weight.T / 2)
    with pytest.raises(KdprobeError, match=r"cannot compute the logits of this architecture \(llama\)"):
        compare(base, trained)


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_memory_grows_neither_with_the_text_nor_with_students(
    torch, compare, changed, make_adapter, architecture, monkeypatch
):
    """No tensor is larger than one chunk of logits or the weights, and few students are loaded at once."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from kdprobe.probing.outputs.differences import reading
    from kdprobe.students.pool import StudentPool

    base, tuned = changed(architecture)
    rows, vocabulary = 5, len(base.load_tokenizer())
    monkeypatch.setattr(reading, "CHUNK_BYTES", rows * 4 * vocabulary)
    students = [Student(f"s{seed}", base.base, make_adapter(base.base.path, seed)) for seed in range(3)]
    most, alive, wide = [], [], []
    load = StudentPool.loaded

    def counted(pool, student):
        gc.collect()
        seen = len(wide)
        loaded = load(pool, student)
        # Merging an adapter checks the logits of a few tokens.
        del wide[seen:]
        alive.append(weakref.ref(loaded.model))
        most.append(sum(model() is not None for model in alive))
        return loaded

    class Watched(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            # The transposed output matrix, 32 wide, is a view.
            if isinstance(result, torch.Tensor) and result.shape[-1:] == (vocabulary,) and len(result) != 32:
                wide.append(result.numel())
            return result

    monkeypatch.setattr(StudentPool, "loaded", counted)
    with Watched():
        compare(base, tuned, *students, pairs=True)
    # The check on loading reads eight tokens.
    assert max(wide) == 8 * vocabulary
    assert wide.count(rows * vocabulary) > 100
    assert max(most) == 2


def test_text_of_a_tokenizer_is_never_markup(compare, tiny_record, make_adapter):
    from kdprobe.problems.problem import Problem

    question = "How much is <b>2</b> + <a href='x'>2</a> & more?"
    row = {"question": question, "answer": "<script>2 + 2 = 4</script>\n#### 4"}
    problems = [Problem.from_gsm8k("<i>p</i>", row)]
    student = Student("<u>s</u>", tiny_record, make_adapter(tiny_record.path, 1))
    result = compare(Student("base", tiny_record), student, context={"problems": problems})
    assert "<" in "".join(result.tables[TOKENS]["token"])
    for figure in result.figures:
        for trace in figure.plotly["data"]:
            shown = [*trace["x"], *trace.get("y", []), trace.get("name", "")]
            assert not any("<" in label for label in shown if isinstance(label, str))


def test_from_the_command_line_and_on_the_page(tiny_model, make_adapter, problem_files, run_cli, tmp_path):
    adapter = make_adapter(tiny_model, 3)
    arguments = [
        *("probe", tiny_model, "--adapter", f"mine={adapter}", "--problems", problem_files[1]),
        *("--analysis", "output_divergence", "--option", "output_divergence.threshold=0.05"),
    ]
    data = json.loads(run_cli(*arguments, "--out", tmp_path, "--json"))
    found = data["analyses"]["output_divergence"]
    table = pd.read_parquet(tmp_path / MEANS / f"{MEANS}.parquet")
    assert table["value"].tolist() == [row["value"] for row in found["divergence"]]
    assert {file.stem for file in (tmp_path / MEANS).glob("*.csv")} == {MEANS, FIRST, TOKENS}
    assert found["parted"][0]["solutions"] == table["problems"].iloc[0] == 6
    page = (tmp_path / "probe.html").read_text()
    assert "Jensen-Shannon divergence of outputs, token by token" in page
    printed = run_cli(*arguments)
    assert "the Jensen-Shannon divergence exceeds 0.05 nats somewhere" in " ".join(printed.split())


def test_from_python(tiny_model, make_adapter, problem_files):
    import kdprobe

    probed = kdprobe.probe(
        str(tiny_model),
        adapters={"mine": make_adapter(tiny_model, 3)},
        problems=str(problem_files[1]),
        analyses=["output_divergence"],
        options={"output_divergence": {"pairs": True}},
        progress=False,
    )
    assert set(probed.table("output_divergence")["student"]) == {"mine"}


def test_in_an_experiment(tiny_config, tiny_model, run_cli, tmp_path):
    config = tiny_config(tiny_model, extra='analyses = ["output_divergence"]')
    data = json.loads(run_cli("run", config, "--store", tmp_path, "--json"))
    statements = data["analyses"]["output_divergence"]["statements"]
    names = [sentence.split(" and untrained")[0] for sentence in statements[1:]]
    assert names == ["fine-tuned", "unprimed", "teacher"] * 2
    (folder,) = tmp_path.glob("stages/analyse/*")
    assert {file.stem for file in folder.glob("*.parquet")} == {MEANS, FIRST, TOKENS}
    assert "Jensen-Shannon divergence of outputs" in next(tmp_path.glob("runs/*/report.html")).read_text()
