"""Contrast pairs: planted heads, MLPs and positions, and an independent computation with plain hooks."""

import json
import re
from contextlib import ExitStack
from dataclasses import replace
from random import Random

import numpy as np
import pandas as pd
import pytest

from kdprobe.errors import KdprobeError
from kdprobe.problems.problem import Problem
from kdprobe.students.student import Student

PARTS = ["template", "question", "question_numbers", "steps", "step_numbers", "operators", "answer"]


def apples(id_, first, second, words=""):
    """A problem with one step."""
    return Problem.from_gsm8k(
        id_,
        {
            "question": f"Tom has {first} apples and buys {second}. How many apples does he have?{words}",
            "answer": f"Tom has {first} + {second} = {first + second} apples.\n#### {first + second}",
        },
        group=f"template{len(words) % 3}",
    )


PROBLEMS = [apples(f"p{index}", 11 + index, 12 + 2 * index, " Count them." * (index % 3)) for index in range(8)]


def counterfactuals(problem):
    """The same problem with different numbers."""
    random, words = Random(problem.id), problem.question.partition("have?")[2]
    for index in range(200):
        yield apples(f"{problem.id}-{index}", random.randint(10, 69), random.randint(10, 29), words)


@pytest.fixture(scope="module")
def patch(torch):
    """Runs the analysis on students; keywords are its options."""
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis

    def run(*students, context=None, **options):
        given = {"students": students, "problems": PROBLEMS, "batch_size": 3, "counterfactuals": counterfactuals}
        analysis = Host().create("analyses", "contrast", options)
        return run_analysis("contrast", analysis, AnalysisContext(**{**given, **(context or {})}))

    return run


@pytest.fixture(scope="module")
def edited(torch, model_of, tmp_path_factory):
    """Writes a model of an architecture with edited weights; returns it as a student."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kdprobe.models.reference import resolve

    def make(name, architecture, edit):
        record, folder = model_of(architecture), tmp_path_factory.mktemp("edited") / name
        model = AutoModelForCausalLM.from_pretrained(record.path)
        with torch.no_grad():
            edit(model)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(record.path).save_pretrained(folder)
        return Student(name, resolve(str(folder)))

    return make


def sizes(result, **columns):
    """The mean size of effects in nats over problems, by site, the largest first."""
    table = result.tables["contrast_by_problem"]
    for name, value in columns.items():
        table = table[table[name] == value]
    by = ["layer", "head", "part"]
    means = table.assign(size=table["nats"].abs()).groupby(by, dropna=False)["size"].mean()
    return means.reset_index().sort_values("size", ascending=False, ignore_index=True)


def difference(result):
    """The mean size of the difference between the two runs."""
    runs = result.tables["contrast_runs"]
    return (runs["counterfactual"] - runs["clean"]).abs().mean()


def silence(model, heads=(), mlps=()):
    """Nothing but these heads and MLPs writes to the residual stream of a Llama with 4 heads of 8 dimensions."""
    for index, layer in enumerate(model.model.layers):
        for head in range(4):
            if (index, head) not in heads:
                layer.self_attn.o_proj.weight[:, 8 * head : 8 * head + 8] = 0
        if index not in mlps:
            layer.mlp.down_proj.weight.zero_()


def test_a_planted_head_carries_everything(edited, patch, tiny_record):
    tokenizer = Student("base", tiny_record).load_tokenizer()

    def plant(model):
        silence(model, heads=[(1, 2)])
        # It attends to digits: their embeddings have a direction of their own, which rotates slowly.
        tokens = model.config.vocab_size
        digits = [
            token for token in range(tokens) if any(map(str.isdigit, str(tokenizer.convert_ids_to_tokens(token))))
        ]
        embeddings, attention = model.model.embed_tokens.weight, model.model.layers[1].self_attn
        embeddings[:, 0], embeddings[:, 1] = 0, 1
        embeddings[digits, 0] = 1
        attention.q_proj.weight[16:24], attention.k_proj.weight[8:16] = 0, 0
        attention.q_proj.weight[19, 1], attention.k_proj.weight[11, 0] = 10, 10

    student = edited("head", "llama", plant)
    result = patch(student, layers="all")
    heads = sizes(result, kind="head")
    assert (heads["layer"][0], heads["head"][0]) == (1, 2)
    assert heads["size"][0] == pytest.approx(difference(result), rel=1e-3)
    assert heads["size"][0] > 0.5
    assert (heads["size"][1:] == 0).all()
    assert (sizes(result, kind="mlp")["size"] == 0).all()


def test_a_planted_mlp_is_the_only_one(edited, patch):
    student = edited("mlp", "llama", lambda model: silence(model, heads=[(0, 1)], mlps=[1]))
    mlps = sizes(patch(student, layers="all"), kind="mlp")
    assert (mlps["layer"][:2] == 1).all()
    assert set(mlps["part"][:2]) == {"answer", "all"}
    assert mlps["size"][0] > 0.1
    assert (mlps["size"][2:] == 0).all()


@pytest.mark.parametrize("part", ["question_numbers", "step_numbers"])
def test_a_planted_position_carries_everything(torch, edited, patch, part):
    """A head of GPT-2 attends to the positions of one part, by their position embeddings alone."""
    from kdprobe.probing.analysis import AnalysisContext
    from kdprobe.probing.contrast.pairs import contrast_pairs

    def plant(model):
        plain = edited("plain", "gpt2", lambda model: None)
        (pair,) = contrast_pairs(
            AnalysisContext([plain], PROBLEMS[:1], counterfactuals=counterfactuals), 1, "steps"
        ).pairs
        blocks = model.transformer.h
        for block in blocks:
            block.mlp.c_proj.weight.zero_()
            block.mlp.c_proj.bias.zero_()
            block.attn.c_proj.bias.zero_()
            block.attn.c_proj.weight.zero_()
        last = blocks[1]
        last.attn.c_proj.weight[16:24] = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
        model.transformer.wte.weight[:, 0] = 0
        model.transformer.wpe.weight[:, 0] = 0
        model.transformer.wpe.weight[pair.within(part).nonzero()[0], 0] = 20
        query, key = slice(16, 24), slice(48, 56)
        last.attn.c_attn.weight[:, query] = 0
        last.attn.c_attn.weight[:, key] = 0
        last.attn.c_attn.weight[0, key] = 20
        last.attn.c_attn.bias[query] = 20
        last.attn.c_attn.bias[key] = 0
        last.ln_1.weight.fill_(1)
        last.ln_1.bias.zero_()

    student = edited(part, "gpt2", plant)
    result = patch(student, context={"problems": PROBLEMS[:1]}, layers="all")
    stream = sizes(result, kind="residual", layer=1)
    stream = stream[stream["part"] != "all"].reset_index()
    assert stream["part"][0] == part
    assert stream["size"][0] == pytest.approx(difference(result), abs=1e-3)
    assert stream["size"][0] > 0.02
    assert (stream["size"][1:] < 1e-3).all()
    heads = sizes(result, kind="head")
    assert (heads["layer"][0], heads["head"][0]) == (1, 2)
    assert (heads["size"][1:] == 0).all()


def child(module, *names):
    """The child module with one of these names."""
    return next(getattr(module, name) for name in names if hasattr(module, name))


class Plain:
    """Patching by full passes with hooks, without kdprobe."""

    def __init__(self, torch, record):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch, self.tokenizer = torch, AutoTokenizer.from_pretrained(record.path)
        self.model = AutoModelForCausalLM.from_pretrained(record.path).eval()
        decoder = self.model.get_decoder()
        self.layers = decoder.h if hasattr(decoder, "h") else decoder.layers
        attention = [child(layer, "self_attn", "attn", "attention", "self_attention") for layer in self.layers]
        self.outputs = [child(each, "o_proj", "c_proj", "dense", "out_proj") for each in attention]
        self.mlps = [child(layer, "mlp", "block_sparse_moe") for layer in self.layers]

    def texts(self, problem, other):
        """Ids of both up to the answer's first token that differs, the two tokens, and each token's characters."""
        both = []
        for each in (problem, other):
            chat = [{"role": "user", "content": each.question}]
            prompt = self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            text = prompt + each.plain_solution
            begin = text.rindex(f"= {each.value} apples") + 2
            encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            both.append((encoded["input_ids"], encoded["offset_mapping"], begin, text))
        (ids, offsets, begin, text), (others, *_) = both
        first = next(index for index, (_, last) in enumerate(offsets) if last > begin)
        end = next(index for index in range(first, len(ids)) if ids[index] != others[index])
        return ids[:end], others[:end], (ids[end], others[end]), offsets[:end], text

    def masks(self, problem, offsets, text):
        """The positions of each part, by characters."""
        question = text.index(problem.question)
        numbers = [number.span() for number in re.finditer(r"\d+", text)]
        answer_from = text.index("Tom has", question + len(problem.question))
        signs = [text.index(" + ", answer_from) + 1, text.index(" = ", answer_from) + 1]
        named = []
        for position, (first, last) in enumerate(offsets):
            is_number = any(first < end and last > start for start, end in numbers)
            if position == len(offsets) - 1:
                named.append("answer")
            elif last <= question or question + len(problem.question) <= first < answer_from:
                named.append("template")
            elif first < answer_from:
                named.append("question_numbers" if is_number else "question")
            elif is_number:
                named.append("step_numbers")
            else:
                named.append("operators" if any(first <= sign < last for sign in signs) else "steps")
        return {part: np.array([each == part for each in named]) for part in PARTS} | {
            "all": np.ones(len(named), dtype=bool)
        }

    def score(self, ids, answers, hooks=()):
        with ExitStack() as stack, self.torch.no_grad():
            for register, hook in hooks:
                stack.callback(register(hook).remove)
            logits = self.model(self.torch.tensor([ids])).logits[0, -1].double()
        log_p = logits.log_softmax(dim=-1)
        return float(log_p[answers[0]] - log_p[answers[1]])

    def capture(self, ids):
        streams, mlps, heads = [], [], []
        with ExitStack() as stack, self.torch.no_grad():
            for layer, output, mlp in zip(self.layers, self.outputs, self.mlps, strict=True):
                for handle in (
                    layer.register_forward_pre_hook(
                        lambda _m, given, _k: streams.append(given[0].clone()), with_kwargs=True
                    ),
                    mlp.register_forward_hook(
                        lambda _m, _g, out: mlps.append((out[0] if isinstance(out, tuple) else out).clone())
                    ),
                    output.register_forward_pre_hook(lambda _m, given: heads.append(given[0].clone())),
                ):
                    stack.callback(handle.remove)
            self.model(self.torch.tensor([ids]))
        return streams, mlps, heads

    def effects(self, problem, other):
        """The change of the score by site."""
        ids, others, answers, offsets, text = self.texts(problem, other)
        streams, mlps, heads = self.capture(others)
        clean = self.score(ids, answers)
        width = heads[0].shape[-1] // self.model.config.num_attention_heads
        changes = {}
        for part, mask in self.masks(problem, offsets, text).items():
            where = self.torch.from_numpy(mask)[None, :, None]
            for index, layer in enumerate(self.layers):

                def swap(own, donor, where=where):
                    return self.torch.where(where, donor, own)

                hook = (
                    layer.register_forward_pre_hook,
                    lambda _m, given, i=index: (swap(given[0], streams[i]), *given[1:]),
                )
                changes["residual", index, -1, part] = self.score(ids, answers, [hook]) - clean

                def swap_mlp(_m, _given, out, i=index, swap=swap):
                    return (swap(out[0], mlps[i]), *out[1:]) if isinstance(out, tuple) else swap(out, mlps[i])

                hook = self.mlps[index].register_forward_hook, swap_mlp
                changes["mlp", index, -1, part] = self.score(ids, answers, [hook]) - clean
                for head in range(self.model.config.num_attention_heads):

                    def swap_head(_m, given, i=index, head=head, where=where):
                        z, columns = given[0].clone(), slice(head * width, (head + 1) * width)
                        z[..., columns] = self.torch.where(where, heads[i][..., columns], z[..., columns])
                        return (z,)

                    hook = self.outputs[index].register_forward_pre_hook, swap_head
                    changes["head", index, head, part] = self.score(ids, answers, [hook]) - clean
        return clean, self.score(others, answers), changes


MORE = ["gpt_neox", "falcon", "cohere", "stablelm", "glm4", "granite", "mixtral", "gpt_oss", "deepseek_v3"]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "phi3", "gpt2", *MORE])
def test_effects_are_those_of_full_passes_with_hooks(torch, patch, model_of, architecture):
    record = model_of(architecture)
    tables = patch(Student("base", record), context={"problems": PROBLEMS[:3]}, heads="by_position").tables
    plain, table = Plain(torch, record), tables["contrast_by_problem"]
    assert len(table) == 3 * (2 * 2 * 8 + 2 * 4 * 8)
    for index, problem in enumerate(PROBLEMS[:3]):
        text = tables["contrast_pairs"]["counterfactual_text"][index]
        other = next(each for each in counterfactuals(problem) if each.question in text)
        clean, counterfactual, changes = plain.effects(problem, other)
        runs = tables["contrast_runs"].iloc[index]
        np.testing.assert_allclose([runs["clean"], runs["counterfactual"]], [clean, counterfactual], atol=2e-4)
        for row in table[table["problem"] == problem.id].itertuples():
            head = -1 if pd.isna(row.head) else row.head
            expected = changes[row.kind, row.layer, head, row.part]
            assert row.nats == pytest.approx(expected, abs=5e-4, rel=1e-4), row
            if runs["tells_apart"]:
                assert row.effect == pytest.approx(expected / (counterfactual - clean), abs=1e-2)


def test_mlps_that_cannot_be_patched_are_left_out_and_said(torch, patch, model_of, edited):
    from types import SimpleNamespace

    from transformers import BloomConfig, BloomForCausalLM

    from kdprobe.probing.contrast.reading import contrast_reader

    result = patch(Student("base", model_of("opt")), heads="none")
    assert set(result.tables["contrast"]["kind"]) == {"residual"}
    assert "MLPs were not patched: kdprobe cannot find them in this architecture" in result.statements[1]
    # BLOOM's add the residual stream to their output.
    bloom = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4)).eval()
    assert contrast_reader("bloom", SimpleNamespace(model=bloom, tokenizer=None)).mlps == []


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_a_beginning_that_is_read_once_changes_nothing(patch, model_of, architecture, monkeypatch):
    from kdprobe.probing.contrast import reading

    student = Student("base", model_of(architecture))
    once = patch(student, heads="by_position").tables["contrast_by_problem"]
    scores = []
    original = reading.ContrastReader.score

    def score(self, sequence, copies=1):
        scores.append(sequence.start)
        return original(self, sequence, copies)

    monkeypatch.setattr(reading.ContrastReader, "score", score)
    patch(student)
    assert max(scores) > 20
    monkeypatch.setattr(reading, "_SAME", -1)
    anew = patch(student, heads="by_position").tables["contrast_by_problem"]
    pd.testing.assert_frame_equal(once, anew, atol=5e-4, rtol=1e-3, check_exact=False)


def test_patching_everything_is_the_counterfactual_run_and_patching_nothing_changes_nothing(patch, tiny_record):
    result = patch(Student("base", tiny_record), layers="all")
    table, runs = result.tables["contrast_by_problem"], result.tables["contrast_runs"].set_index("problem")
    everything = table[(table["kind"] == "residual") & (table["part"] == "all")]
    expected = (runs["counterfactual"] - runs["clean"])[everything["problem"]]
    np.testing.assert_allclose(everything["nats"], expected, atol=1e-4)
    told = everything.dropna(subset="effect")
    np.testing.assert_allclose(told["effect"], 1, atol=1e-3)
    # Words before the first layer are the same in both runs.
    same = table[(table["layer"] == 0) & (table["kind"] == "residual")]
    assert (same[same["part"].isin(["template", "question", "steps", "operators"])]["nats"] == 0).all()


def test_an_identical_counterfactual_changes_nothing_and_is_refused(torch, patch, tiny_record):
    from kdprobe.probing.analysis import AnalysisContext
    from kdprobe.probing.contrast.pairs import contrast_pairs
    from kdprobe.probing.contrast.patched import patched_effects
    from kdprobe.probing.contrast.reading import contrast_reader
    from kdprobe.probing.contrast.sites import parts_in, sites_of

    student = Student("base", tiny_record)
    context = AnalysisContext([student], PROBLEMS[:1], counterfactuals=counterfactuals)
    (pair,) = contrast_pairs(context, 1, "steps").pairs
    sites = list(sites_of([0, 1], parts_in([pair]), mlps=True, heads=4, heads_by_position=True))
    found = patched_effects(
        contrast_reader("base", student.load(dtype="float32")), replace(pair, other=pair.clean), sites, batch_size=5
    )
    assert (found.changes == 0).all()
    assert found.clean == found.other
    with pytest.raises(KdprobeError, match="Only 0 of 8 problems have a counterfactual whose tokens align"):
        patch(student, context={"counterfactuals": lambda problem: [problem]})


def test_problems_without_an_aligned_counterfactual_are_left_out(patch, tiny_record):
    def longer(problem):
        return counterfactuals(problem) if problem.id not in {"p1", "p4"} else [apples("x", 1_000_000, 2_000_000)]

    result = patch(Student("base", tiny_record), context={"counterfactuals": longer})
    assert result.tables["contrast_pairs"]["problem"].tolist() == ["p0", "p2", "p3", "p5", "p6", "p7"]
    assert "2 problems without a counterfactual whose tokens align are left out." in result.statements[0]
    with pytest.raises(KdprobeError, match=r"Only 5 of 7 problems .* at least 6 are needed"):
        patch(Student("base", tiny_record), context={"counterfactuals": longer, "problems": PROBLEMS[:7]})


def test_no_number_depends_on_batches_other_students_or_padding(patch, tiny_record, make_adapter, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kdprobe.models.reference import resolve

    base = Student("base", tiny_record)
    tuned = Student("tuned", tiny_record, make_adapter(tiny_record.path, 5))
    copied = tmp_path / "left"
    AutoModelForCausalLM.from_pretrained(tiny_record.path).save_pretrained(copied)
    tokenizer = AutoTokenizer.from_pretrained(tiny_record.path)
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(copied)
    both = patch(base, tuned, context={"batch_size": 1}).tables
    other = patch(Student("base", resolve(str(copied))), context={"batch_size": 50}).tables
    for name in ("contrast_by_problem", "contrast_runs"):
        mine = both[name][both[name]["student"] == "base"].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, other[name], atol=2e-4, check_exact=False)


def test_a_copy_of_the_untrained_model_shows_no_difference(patch, edited, tiny_record, make_adapter):
    copy = Student("copy", tiny_record, make_adapter(tiny_record.path, 1, size=0))
    result = patch(Student("base", tiny_record), copy)
    changes = result.tables["contrast_change"]
    assert (changes["value"] == 0).all()
    assert (changes["p_over_problems"] == 1).all()
    assert not ((changes["kind"] == "residual") & (changes["part"] == "all")).any()


def test_reading_the_answer_at_once(patch, tiny_record):
    result = patch(Student("base", tiny_record), reads="answer")
    pairs, table = result.tables["contrast_pairs"], result.tables["contrast"]
    assert pairs["clean_text"].str.contains(r"assistant\n####", regex=True).all()
    assert not pairs["clean_text"].str.contains(" = ").any()
    assert set(table["part"]) == {"template", "question", "question_numbers", "answer", "all"}
    first = sizes(result, kind="residual", layer=0)
    # Nothing else differs between the two problems.
    assert set(first["part"][:2]) == {"question_numbers", "all"}
    assert (first["size"][2:] == 0).all()


def test_what_is_fixed_by_construction_is_not_compared(patch, tiny_record, make_adapter):
    tuned = Student("tuned", tiny_record, make_adapter(tiny_record.path, 5))
    result = patch(Student("base", tiny_record), tuned, reads="answer")
    changes = result.tables["contrast_change"].query("kind == 'residual' and part == 'question_numbers'")
    assert set(changes["layer"]) == {1}
    assert re.search(r"On average, [\d.]+ tokens differ: [\d.]+ at the numbers in the question\.", result.statements[0])
    # With the steps, their numbers differ as well.
    changes = patch(Student("base", tiny_record), tuned).tables["contrast_change"]
    assert set(changes.query("kind == 'residual' and part == 'question_numbers'")["layer"]) == {0, 1}


def test_layers_are_chosen_evenly_and_said(patch, model_of):
    result = patch(Student("deep", model_of("llama", num_hidden_layers=5)), layers=3, heads="none")
    assert sorted(result.tables["contrast"]["layer"].unique()) == [0, 2, 4]
    assert "3 of 5 layers were patched: 0, 2, 4. Nothing is known about any other layer;" in result.statements[1]
    assert set(result.tables["contrast"]["kind"]) == {"residual", "mlp"}


def test_strategies_of_three_seeds_are_averaged(patch, tiny_record, make_adapter):
    students = [
        Student(f"none-{seed}", tiny_record, make_adapter(tiny_record.path, seed), arm="none", seed=seed)
        for seed in range(3)
    ]
    result = patch(Student("base", tiny_record), *students, heads="none")
    values = result.tables["contrast"].query("measure == 'nats'").set_index("student")["value"]
    members = np.mean([values[f"none-{seed}"] for seed in range(3)], axis=0)
    np.testing.assert_allclose(values["none"], members, rtol=1e-9)
    assert any(sentence.startswith("none (3 seeds) compared with base: ") for sentence in result.statements)
    assert not any(sentence.startswith("none-0") for sentence in result.statements)


def test_a_pair_of_ones_own(tiny_record):
    from kdprobe.probing import contrast_pair

    tokenizer = Student("base", tiny_record).load_tokenizer()
    problem = PROBLEMS[0]
    aligned = next(each for each in counterfactuals(problem) if _aligns(tokenizer, problem, each))
    pair = contrast_pair(tokenizer, problem, aligned)
    assert tokenizer.decode(pair.clean).endswith(" =")
    assert len(contrast_pair(tokenizer, problem, aligned, "answer").clean) < len(pair.clean)
    with pytest.raises(KdprobeError, match="The tokens of 'p0' and 'p0' do not align, or their gold values are"):
        contrast_pair(tokenizer, problem, problem)


def _aligns(tokenizer, problem, other):
    both = [tokenizer(each.question + each.solution)["input_ids"] for each in (problem, other)]
    return len(both[0]) == len(both[1]) and problem.value != other.value


def test_without_counterfactuals_it_is_refused(patch, tiny_record):
    with pytest.raises(KdprobeError, match="'contrast' needs counterfactuals"):
        patch(Student("base", tiny_record), context={"counterfactuals": None})


def test_an_experiment_contrasts_problems_if_its_source_offers_counterfactuals(tiny_model, tiny_config, tmp_path):
    import tomllib

    import kdprobe

    file = tiny_config(tiny_model, extra='analyses = [{ name = "contrast", options = { heads = "none" } }]')
    with pytest.raises(
        KdprobeError, match="'contrast' needs counterfactuals, and the problem source 'jsonl' offers none"
    ):
        kdprobe.plan(file)
    data = tomllib.loads(file.read_text())
    data["problems"] = {"source": "gsm-symbolic", "options": {"templates": [6, 43]}, "transfer": 4, "test": 6}
    data["probe"]["problems"] = 6
    run = kdprobe.run(data, store=tmp_path / "store")
    table = run.analyses.tables["contrast"]["contrast_runs"]
    assert set(table["student"]) == {"untrained", "fine-tuned", "unprimed", "teacher"}


def test_from_the_command_line(tiny_model, make_adapter, run_cli, tmp_path):
    adapter = make_adapter(tiny_model, 3)
    data = json.loads(
        run_cli(
            *("probe", tiny_model, "--adapter", f"mine={adapter}", "--problems", "gsm-symbolic"),
            *("--option", "gsm-symbolic.templates=[6,43]", "--limit", "8", "--analysis", "contrast"),
            *("--option", "contrast.problems=6", "--out", tmp_path, "--json"),
        )
    )
    assert data["analyses"]["contrast"]["pairs"] == 6
    table = pd.read_parquet(tmp_path / "contrast" / "contrast_pairs.parquet")
    assert (table["differing_tokens"] > 0).all()
    assert (table["clean_answer"] != table["counterfactual_answer"]).all()
    assert "from the counterfactual run" in (tmp_path / "probe.html").read_text()
