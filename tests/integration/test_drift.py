"""Drift against plain forward passes of transformers over the full vocabulary, in float64."""

import gc
import json
import shutil
import weakref
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import t

from kdprobe.students.student import Student

OPTIONS = {"max_new_tokens": 6, "samples": 2, "neutral": ["Tell me about owls.", "Name a colour.", "Say hello."]}


@pytest.fixture(scope="module")
def drift(torch, problems):
    """Runs the analysis on students; keywords are its options."""
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis

    def run(*students, context=None, **options):
        given = AnalysisContext(students, problems[:3], batch_size=3, **(context or {}))
        return run_analysis("drift", Host().create("analyses", "drift", {**OPTIONS, **options}), given)

    return run


@pytest.fixture(scope="module")
def plain_sums(torch):
    """The KL divergence of each sample, summed over its tokens: one text at a time, all logits, float64."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def model_of(student):
        model = AutoModelForCausalLM.from_pretrained(student.base.path, dtype=torch.float32)
        if student.adapter is None:
            return model.eval()
        from peft import PeftModel

        return PeftModel.from_pretrained(model, student.adapter).eval()

    def sums(texts, first, second):
        tokenizer = AutoTokenizer.from_pretrained(first.base.path)
        p_model, q_model = model_of(first), model_of(second)
        found = []
        for row in texts.itertuples():
            chat = [{"role": "user", "content": row.request}]
            prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            prompt = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            written = [int(token) for token in row.token_ids.split()]
            with torch.inference_mode():
                rows = [
                    model(torch.tensor([prompt + written])).logits[0, len(prompt) - 1 : -1, : len(tokenizer)]
                    for model in (p_model, q_model)
                ]
            log_p, log_q = (log_softmax(logits.double().numpy(), axis=-1) for logits in rows)
            found.append((np.exp(log_p) * (log_p - log_q)).sum())
        return np.array(found)

    return sums


def check_means(result, plain_sums, untrained, student):
    """All values of one student against plain forward passes, and their intervals against leaving prompts out."""
    tables = result.tables
    for direction, first, second in (("forward", untrained, student), ("reverse", student, untrained)):
        texts = tables["drift_texts"].query(f"writer == '{first.name}'").reset_index(drop=True)
        expected = plain_sums(texts, first, second)
        samples = tables["drift_samples"].query(f"student == '{student.name}' and direction == '{direction}'")
        np.testing.assert_allclose(samples["value"] * samples["tokens"], expected, rtol=2e-5, atol=2e-6)
        assert samples["tokens"].tolist() == [len(ids.split()) for ids in texts["token_ids"]]
        for kind in ("task", "neutral"):
            of_kind = (texts["text"] == kind).to_numpy()
            sums = expected[of_kind].reshape(3, 2).sum(axis=1)
            sizes = texts["tokens"][of_kind].to_numpy().reshape(3, 2).sum(axis=1)
            asked = f"student == '{student.name}' and direction == '{direction}' and text == '{kind}'"
            row = tables["drift"].query(asked).iloc[0]
            assert row["value"] == pytest.approx(sums.sum() / sizes.sum(), rel=2e-5)
            assert row["tokens"] == sizes.sum()
            left_out = [(sums.sum() - sums[i]) / (sizes.sum() - sizes[i]) for i in range(3)]
            error = np.sqrt(2 / 3 * sum((mean - row["value"]) ** 2 for mean in left_out))
            assert row["standard_error"] == pytest.approx(error, rel=1e-3)
            assert row["high"] - row["value"] >= t.ppf(0.975, 2) * error * 0.999
            assert (row["prompts"], row["samples"], row["against"]) == (3, 6, untrained.name)


@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_an_adapter_drifts_as_plain_forward_passes_say(drift, plain_sums, tiny_record, tiny_student, rows, monkeypatch):
    from kdprobe.models import lm_head

    monkeypatch.setattr(lm_head, "CHUNK_BYTES", rows * 4 * 400)
    untrained, student = Student("base", tiny_record), tiny_student(["q_proj", "v_proj", "down_proj"])
    check_means(drift(untrained, student), plain_sums, untrained, student)


@pytest.mark.parametrize("architecture", ["qwen3", "gemma2", "gpt2", "mistral", "cohere", "deepseek_v3", "granite"])
def test_whole_models_of_other_families(torch, drift, plain_sums, model_of, tmp_path, architecture):
    """Soft-capped, scaled and tied output layers, absolute positions, sliding windows, experts."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kdprobe.models.reference import resolve

    record = model_of(architecture)
    model = AutoModelForCausalLM.from_pretrained(record.path)
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.02)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(record.path).save_pretrained(tmp_path)
    untrained, student = Student("base", record), Student("tuned", resolve(str(tmp_path)))
    check_means(drift(untrained, student), plain_sums, untrained, student)


@pytest.fixture(scope="module")
def padded(torch, tiny_record, tmp_path_factory):
    """The tiny model with output rows beyond its tokenizer that would take almost all probability."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kdprobe.models.reference import resolve

    model, folder = AutoModelForCausalLM.from_pretrained(tiny_record.path), tmp_path_factory.mktemp("padded")
    vocabulary = model.config.vocab_size
    model.resize_token_embeddings(vocabulary + 24)
    with torch.no_grad():
        model.lm_head.weight[vocabulary:] = 9 * model.lm_head.weight[:24]
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_record.path).save_pretrained(folder)
    return resolve(str(folder))


def test_rows_without_a_token_never_count(drift, plain_sums, padded, make_adapter):
    untrained = Student("base", padded)
    student = Student("tuned", padded, make_adapter(padded.path, 1, target_modules=["o_proj"]))
    result = drift(untrained, student)
    check_means(result, plain_sums, untrained, student)
    written = [int(token) for ids in result.tables["drift_texts"]["token_ids"] for token in ids.split()]
    assert max(written) < len(untrained.load_tokenizer())


def test_an_untouched_copy_does_not_drift_and_a_larger_change_drifts_further(drift, tiny_record, make_adapter):
    students = [
        Student(f"size-{size}", tiny_record, make_adapter(tiny_record.path, 2, size=size))
        for size in (0, 0.05, 0.1, 0.3)
    ]
    tables = drift(Student("base", tiny_record), *students).tables
    values = tables["drift"].pivot_table(index="student", columns=["direction", "text"], values="value", sort=False)
    copy = tables["drift"].query("student == 'size-0'")
    assert (copy[["value", "low", "high"]].abs() <= 1e-6).all(axis=None)
    assert (values.diff().dropna() > 0).all(axis=None)
    texts = tables["drift_texts"].set_index("writer")["token_ids"]
    # What a copy writes is what the untrained model writes.
    assert texts["base"].tolist() == texts["size-0"].tolist() != texts["size-0.3"].tolist()


def test_the_same_text_whatever_the_batches_and_another_with_another_seed(drift, tiny_record, tiny_student):
    students = Student("base", tiny_record), tiny_student(["q_proj"])
    one, again, alone = drift(*students), drift(*students), drift(*students, batch_size=1)
    for name, table in one.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[name])
        pd.testing.assert_frame_equal(table, alone.tables[name])
    other = drift(*students, context={"seed": 1})
    assert (one.tables["drift_texts"]["token_ids"] != other.tables["drift_texts"]["token_ids"]).any()
    # A prompt keeps its text when others are added.
    fewer = drift(*students, neutral=OPTIONS["neutral"][:1]).tables["drift_texts"]
    kept = one.tables["drift_texts"].merge(fewer, on=["writer", "prompt", "sample"])
    assert len(kept) == len(fewer)
    assert (kept["token_ids_x"] == kept["token_ids_y"]).all()


def test_tokens_are_drawn_as_often_as_the_model_says(torch):
    from kdprobe.probing.drift.sampling import InverseTransform

    draws = 4000
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(0)) * 2
    logits[0, 3] = -torch.inf
    logits[0, 10:] = 50.0  # beyond the vocabulary
    even = (np.arange(draws)[:, None] + 0.5) / draws
    prompt = torch.zeros(draws, 4, dtype=torch.long)
    scores = InverseTransform(even, 4, 10)(prompt, logits.expand(draws, -1))
    assert ((scores == 0).sum(dim=-1) == 1).all()
    shares = np.bincount(scores.argmax(dim=-1).numpy(), minlength=10) / draws
    np.testing.assert_allclose(shares, softmax(logits[0, :10].double().numpy()), atol=1 / draws)


def test_a_models_own_decoding_settings_do_not_change_its_text(torch, drift, tiny_record, tiny_student, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from kdprobe.models.reference import resolve

    model = AutoModelForCausalLM.from_pretrained(tiny_record.path)
    model.generation_config = GenerationConfig(
        repetition_penalty=30.0, suppress_tokens=[5, 6, 7], do_sample=True, top_k=1, temperature=0.1, min_new_tokens=5
    )
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_record.path).save_pretrained(tmp_path)
    adapter = tiny_student(["q_proj"]).adapter
    settled = resolve(str(tmp_path))
    found = [
        drift(Student("base", record), Student("tuned", record, adapter)).tables["drift_texts"]["token_ids"].tolist()
        for record in (tiny_record, settled)
    ]
    assert found[0] == found[1]


def test_every_student_stops_at_the_ends_that_its_model_declares(drift, tiny_record, tiny_student, tmp_path):
    """Tokens that only generation_config.json names end the text of the untrained model as that of an adapter."""
    from kdprobe.models.reference import resolve

    adapter = tiny_student(["q_proj"]).adapter

    def texts(record):
        table = drift(Student("base", record), Student("tuned", record, adapter)).tables["drift_texts"]
        return table, [[int(token) for token in ids.split()] for ids in table["token_ids"]]

    _, plain = texts(tiny_record)
    # Every text has one of these by its third token.
    ends = {ids[:3][-1] for ids in plain}
    folder = shutil.copytree(tiny_record.path, tmp_path / "ends")
    settings = json.loads((folder / "generation_config.json").read_text())
    declared = [settings["eos_token_id"], *sorted(ends - {settings["eos_token_id"]})]
    (folder / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": declared}))
    table, stopped = texts(resolve(str(folder)))
    assert stopped == [ids[: next(i for i, token in enumerate(ids) if token in ends) + 1] for ids in plain]
    assert table["tokens"].tolist() == [len(ids) for ids in stopped]
    assert not table["cut_off"].any()


def test_pairs_are_compared_on_the_shared_text(drift, tiny_record, make_adapter):
    a, b = (Student(name, tiny_record, make_adapter(tiny_record.path, seed)) for seed, name in enumerate("ab", 5))
    tables = drift(Student("base", tiny_record), a, b).tables
    samples = tables["drift_samples"].query("direction == 'forward' and text == 'neutral'")
    samples = samples.assign(total=samples["value"] * samples["tokens"])
    totals = samples.pivot_table(index="prompt", columns="student", values="total", aggfunc="sum")
    sizes = samples.query("student == 'a'").groupby("prompt")["tokens"].sum()
    differences = (totals["a"] - totals["b"]).to_numpy()
    row = tables["drift_pairs"].query("text == 'neutral'").iloc[0]
    assert (row["student"], row["against"], row["over"]) == ("a", "b", "prompts")
    assert row["value"] == pytest.approx(differences.sum() / sizes.sum())
    n, total = len(sizes), sizes.to_numpy()
    left_out = [(differences.sum() - differences[i]) / (total.sum() - total[i]) for i in range(n)]
    assert row["standard_error"] == pytest.approx(np.sqrt((n - 1) / n * ((left_out - row["value"]) ** 2).sum()))


def test_the_sampling_error_is_the_spread_between_samples_of_one_prompt(drift, tiny_record, tiny_student):
    students = Student("base", tiny_record), tiny_student(["q_proj"])
    tables = drift(*students, samples=4).tables
    samples = tables["drift_samples"].query("direction == 'forward' and text == 'task'")
    row = tables["drift"].query("direction == 'forward' and text == 'task'").iloc[0]
    residuals = (samples["value"] - row["value"]) * samples["tokens"]
    within = residuals.groupby(samples["prompt"]).var(ddof=1)
    assert row["sampling_error"] == pytest.approx(np.sqrt(4 * within.sum()) / row["tokens"])
    assert np.isnan(drift(*students, samples=1).tables["drift"]["sampling_error"]).all()


def test_strategies_of_three_seeds_are_averaged_over_seeds_and_prompts(drift, tiny_record, make_adapter):
    students = [
        Student(f"{arm}-{seed}", tiny_record, make_adapter(tiny_record.path, 10 * place + seed), arm=arm, seed=seed)
        for place, (arm, seeds) in enumerate({"none": 3, "taught": 3, "few": 2}.items())
        for seed in range(seeds)
    ]
    result = drift(Student("base", tiny_record), *students)
    table = result.tables["drift"].query("direction == 'forward' and text == 'task'").set_index("student")
    assert table.loc["none", "over"] == "seeds and prompts"
    assert table.loc["none", "value"] == pytest.approx(table.loc[["none-0", "none-1", "none-2"], "value"].mean())
    assert table.loc["none", "seeds"] == 3
    assert "few" not in table.index
    pairs = result.tables["drift_pairs"].query("over == 'seeds and prompts' and text == 'task'")
    assert pairs[["student", "against"]].to_numpy().tolist() == [["none", "taught"]]
    assert pairs["value"].iloc[0] == pytest.approx(table.loc["none", "value"] - table.loc["taught", "value"])
    assert len(result.tables["drift_pairs"].query("over == 'prompts' and text == 'task'")) == 8 * 7 / 2
    named = [sentence.split(":")[0] for sentence in result.statements[1:5]]
    assert named == ["none (mean of 3 seeds)", "taught (mean of 3 seeds)", "few-0", "few-1"]
    assert result.figures[0].plotly["data"][0]["x"] == ["none", "taught", "few-0", "few-1"]


def test_empty_and_cut_off_samples_are_counted_and_said(drift, parrot):
    from kdprobe.models.reference import resolve

    writer, silent = (
        Student(name, resolve(str(parrot(text)))) for name, text in (("writer", "qwertyuiop"), ("silent", ""))
    )
    result = drift(writer, silent)
    texts = result.tables["drift_texts"].groupby("writer")[["cut_off", "empty"]].sum()
    assert texts.loc["writer"].tolist() == [12, 0]
    assert texts.loc["silent"].tolist() == [0, 12]
    reverse = result.tables["drift"].query("direction == 'reverse'")
    assert reverse[["tokens", "empty", "cut_off"]].to_numpy().tolist() == [[6, 6, 0]] * 2
    forward = result.tables["drift"].query("direction == 'forward'")
    assert forward[["tokens", "empty", "cut_off"]].to_numpy().tolist() == [[36, 0, 6]] * 2
    assert "Samples cut off at 6 tokens: writer 12 of 12. Drift after that point is not measured." in result.statements
    assert result.statements[-1].endswith("which count as one token: silent 12 of 12.")


def test_the_untrained_model_need_not_be_among_the_students(drift, tiny_record, tiny_student):
    first = tiny_student(["q_proj"])
    other = replace(first, name="other", arm="other")
    result = drift(first, other)
    assert result.summary["untrained"] == "untrained"
    # The first of them drifts from its own base, too.
    assert set(result.tables["drift"]["student"]) == {"trained", "other"}
    with_base = drift(Student("base", tiny_record), first).tables["drift"]
    expected = result.tables["drift"].query("student == 'trained'")
    np.testing.assert_array_equal(with_base["value"], expected["value"])


def test_what_cannot_be_compared_is_refused_in_a_sentence(drift, tiny_record, tiny_student, stranger):
    from kdprobe.errors import KdprobeError, UsageError
    from kdprobe.models.reference import resolve

    base, trained = Student("base", tiny_record), tiny_student(["q_proj"])
    with pytest.raises(UsageError, match=r"^'odd' has a different vocabulary from the untrained model 'base'\. "):
        drift(base, trained, Student("odd", resolve(str(stranger))))
    with pytest.raises(KdprobeError, match="needs a student besides the untrained model 'base'"):
        drift(base)
    with pytest.raises(UsageError, match="with up to 4000 new ones, that exceeds the model's context of 2048 tokens"):
        drift(base, trained, max_new_tokens=4000)
    with pytest.raises(UsageError, match="unknown student 'nobody'"):
        drift(base, trained, students=["nobody"])


def test_one_student_is_loaded_at_a_time(drift, tiny_record, make_adapter, monkeypatch):
    from kdprobe.probing.drift import analysis
    from kdprobe.students.pool import StudentPool

    alive, most, reference, kept = [], [], [], []
    load, reading = StudentPool.loaded, analysis.reading

    def counted(pool, student):
        gc.collect()
        loaded = load(pool, student)
        alive.append(weakref.ref(loaded.model))
        most.append(sum(model() is not None for model in alive))
        return loaded

    @contextmanager
    def watched(name, loaded, **options):
        with reading(name, loaded, **options) as reader:
            if reader.kept is not None:
                reference.append(reader)
            yield reader
        kept.append(len(reference[0].kept))

    monkeypatch.setattr(StudentPool, "loaded", counted)
    monkeypatch.setattr(analysis, "reading", watched)
    students = [Student(f"s{seed}", tiny_record, make_adapter(tiny_record.path, seed)) for seed in range(4)]
    drift(Student("base", tiny_record), *students)
    # The untrained model and one student; and the untrained model's rows on the shared text, once.
    assert most == [1, 2, 2, 2, 2]
    assert len(set(kept)) == 1


def test_from_the_command_line_and_on_the_page(tiny_model, make_adapter, problem_files, run_cli, tmp_path):
    adapter = make_adapter(tiny_model, 3)
    data = json.loads(
        run_cli(
            *("probe", tiny_model, "--adapter", f"mine={adapter}", "--problems", problem_files[1], "--limit", 3),
            *("--analysis", "drift", "--option", "drift.max_new_tokens=4", "--option", "drift.samples=1"),
            *("--out", tmp_path, "--json"),
        )
    )
    found = data["analyses"]["drift"]
    assert [row["prompts"] for row in found["drift"]] == [3, 32, 3, 32]
    assert found["drift"][0]["sampling_error"] is None
    table = pd.read_parquet(tmp_path / "drift" / "drift.parquet")
    assert table["value"].tolist() == [row["value"] for row in found["drift"]]
    page = (tmp_path / "probe.html").read_text()
    assert "the untrained model&#39;s text" in page or "the untrained model's text" in page
    assert "per token is" in page


def test_in_an_experiment(tiny_config, tiny_model, run_cli, tmp_path):
    extra = 'analyses = [{ name = "drift", options = { max_new_tokens = 4, samples = 1, neutral = ["Hi!", "Why?"] } }]'
    config = tiny_config(tiny_model, extra=extra)
    task = '[evaluation]\ntasks = [{ name = "basics_kdprobe", role = "retention", limit = 12, margin = 0.9 }]'
    config.write_text(config.read_text().replace("[evaluation]", task))
    data = json.loads(run_cli("run", config, "--store", tmp_path, "--json"))
    assert {change["outcome"] for change in data["tasks"]["changes"]} == {"retained"}
    statements = data["analyses"]["drift"]["statements"]
    assert [sentence.split(":")[0] for sentence in statements[1:4]] == ["fine-tuned", "unprimed", "teacher"]
    (folder,) = tmp_path.glob("stages/analyse/*")
    assert {file.stem for file in folder.glob("*.parquet")} == {
        f"drift{rest}" for rest in ("", "_pairs", "_samples", "_texts")
    }
    page = next(tmp_path.glob("runs/*/report.html")).read_text()
    assert "Drift on the untrained model" in page
