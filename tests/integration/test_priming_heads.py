"""The teacher's heads against plain passes of transformers, each prompt alone, in float64."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon

from taught import Here, assert_only_says, made_teaching, spelt_responses

FAMILIES = ["llama", "qwen3", "gemma2", "phi3", "gpt2"]
NEUTRAL = "Wool from the valley is washed, spun and dyed in the mill."


@pytest.fixture(scope="module")
def tokenizer(tiny_record):
    from kdprobe.models.load import load_tokenizer

    return load_tokenizer(tiny_record)


@pytest.fixture(scope="module")
def responses(tokenizer, problems):
    return spelt_responses(tokenizer, problems)


@pytest.fixture(scope="module")
def teaching(torch, tokenizer, problems, conversations, responses):
    """Makes the teaching of two strategies, both with the same responses."""
    return lambda teacher, **changed: made_teaching(teacher, tokenizer, problems, conversations, responses, **changed)


def run(teaching, batch_size=8, **options):
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis

    analysis = Host().create("analyses", "priming_heads", options)
    return run_analysis("priming_heads", analysis, AnalysisContext(teaching=teaching, batch_size=batch_size))


class Loaded(Here):
    """A teacher that is loaded already."""

    def __init__(self, loaded):
        super().__init__(loaded.record)
        self.loaded = lambda: loaded


def find(ids, run):
    """Where a run of ids begins, which must occur once."""
    (start,) = [at for at in range(len(ids)) if list(ids[at : at + len(run)]) == list(run)]
    return start


def plain(model, prompt, question, priming, response, torch):
    """Attention rows of one prompt, `[layer, head, query, key]`, and the keys of each class, in float64."""
    with torch.inference_mode():
        patterns = model(torch.tensor([[*prompt, *response[:-1]]]), output_attentions=True).attentions
    rows = np.stack([pattern[0, :, len(prompt) - 1 :].double().numpy() for pattern in patterns])
    keys = {"question": question, "priming": priming, "first_token": [0]}
    keys["response"] = list(range(len(prompt), rows.shape[-1]))
    known = {position for positions in keys.values() for position in positions}
    keys["frame"] = [position for position in range(rows.shape[-1]) if position not in known]
    return rows, keys


def divergence(one, other):
    """Mean over queries of the divergence between attention on the same keys."""
    found = np.empty(one.shape[:3])
    for row in np.ndindex(*one.shape[:3]):
        found[row] = jensenshannon(one[row], other[row]) ** 2
    return found.mean(axis=2)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_head_attends_as_plain_passes_say(
    torch, teaching, model_of, problems, tokenizer, architecture, batch_size
):
    from transformers import AutoModelForCausalLM

    window = {"sliding_window": 24} if architecture == "gemma2" else {}
    record = model_of(architecture, **window)
    model = AutoModelForCausalLM.from_pretrained(record.path, dtype=torch.float32, attn_implementation="eager").eval()
    given = teaching(Here(record))
    result = run(given, batch_size, problems=1, neutral=3)
    primed = given.primings[1]
    problem, response = problems[0], primed.responses[0].token_ids.tolist()
    chat = [{"role": "user", "content": problem.question}]
    asked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    bare, full = (list(ids) for ids in (tokenizer(asked)["input_ids"], primed.prompts[problem.id]))
    # The tokens of the question, and what the primed prompt has before it and the bare one has not.
    question = tokenizer(problem.question)["input_ids"]
    at, bare_at = find(full, question), find(bare, question)
    added = list(range(bare_at, at))
    assert full[:bare_at] == bare[:bare_at]
    expected = {"bare": plain(model, bare, list(range(bare_at, bare_at + len(question))), [], response, torch)}
    places = list(range(at, at + len(question)))
    expected["primed"] = plain(model, full, places, added, response, torch)
    compared = {
        name: np.concatenate([rows[..., keys["question"]], rows[..., keys["response"]]], axis=-1)
        for name, (rows, keys) in expected.items()
    }
    compared = {name: rows / rows.sum(axis=-1, keepdims=True) for name, rows in compared.items()}
    table = result.tables["priming_heads"].query("strategy == 'teacher'")
    for measure in ("question", "priming", "first_token", "response", "frame"):
        found = table.query(f"measure == '{measure}'")
        for name, (rows, keys) in expected.items():
            shares = rows[..., keys[measure]].sum(axis=-1).mean(axis=-1)
            np.testing.assert_allclose(found[name], shares.ravel(), atol=1e-5)
    found = table.query("measure == 'divergence'")
    assert (found["bare"] == 0).all()
    np.testing.assert_allclose(
        found["primed"], divergence(compared["primed"], compared["bare"]).ravel(), rtol=1e-3, atol=1e-5
    )
    assert found["primed"].max() > 0.01
    shares = table.query("measure != 'divergence'").groupby(["layer", "head"])["primed"].sum()
    np.testing.assert_allclose(shares, 1, atol=1e-5)
    assert set(table["measure"]) == {"divergence", *expected["bare"][1]}
    assert table["moved"].isna().all(), "one problem and three texts cannot tell"
    assert "1 problem and 3 neutral texts: too few" in result.statements[3]


@pytest.fixture
def seen(monkeypatch):
    """The token ids of all prompts with their responses, as the teacher reads them."""
    from kdprobe.probing.priming.heads import attending

    texts, original = [], attending.in_hugging_face

    def spy(twins, ids, mask, visit):
        for text, real in zip(ids.tolist(), mask.tolist(), strict=True):
            texts.append(text[: sum(real)])
        original(twins, ids, mask, visit)

    monkeypatch.setattr(attending, "in_hugging_face", spy)
    return texts


def test_the_control_is_neutral_text_of_equal_length(torch, teaching, tiny_record, problems, tokenizer, seen):
    from transformers import AutoModelForCausalLM

    given = teaching(Here(tiny_record))
    given = replace(given, primings=given.primings[1:])
    table = run(given, problems=1, neutral=4).tables["priming_heads"]
    problem, response = problems[0], given.primings[0].responses[0].token_ids.tolist()
    full = given.primings[0].prompts[problem.id]
    question = tokenizer(problem.question)["input_ids"]
    at = find(full, question)
    texts = {tuple(text[: len(full)]) for text in seen if len(text) == len(full) + len(response) - 1}
    neutral = [list(text) for text in texts if list(text) != full]
    assert len(neutral) == 4
    priming = tokenizer.decode(full[:at]).partition("user\n")[2]
    begins = {tokenizer.decode(text[:at]).partition("user\n")[2] for text in neutral}
    assert len(begins) == 4
    for text in begins:
        assert text.endswith(".\n\n")
        assert not {"teacher", "problem", "Explain", "step"} & set(text.replace(".", " ").split())
        assert abs(len(text) - len(priming)) < len(priming)
    assert all(text[at:] == full[at:] for text in neutral)
    model = AutoModelForCausalLM.from_pretrained(tiny_record.path, attn_implementation="eager").eval()
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": problem.question}], add_generation_prompt=True, tokenize=False
    )
    bare = tokenizer(asked)["input_ids"]
    bare_at = find(bare, question)
    added, places = list(range(bare_at, at)), list(range(at, at + len(question)))
    (alone, alone_keys), (primed, keys), *others = (
        plain(model, prompt, of_question, of_priming, response, torch)
        for prompt, of_question, of_priming in (
            (bare, list(range(bare_at, bare_at + len(question))), []),
            *((prompt, places, added) for prompt in (full, *neutral)),
        )
    )

    def common(rows, keys):
        kept = rows[..., [*keys["question"], *keys["response"]]]
        return kept / kept.sum(axis=-1, keepdims=True)

    def beyond(measure):
        return measure(primed, keys) - np.mean([measure(*other) for other in others], axis=0)

    expected = {
        "priming": beyond(lambda rows, keys: rows[..., keys["priming"]].sum(axis=-1).mean(axis=-1)),
        "divergence": beyond(lambda rows, keys: divergence(common(rows, keys), common(alone, alone_keys))),
    }
    for measure, values in expected.items():
        found = table.query(f"measure == '{measure}'")
        np.testing.assert_allclose(found["value"], values.ravel(), atol=2e-5)
        np.testing.assert_allclose(found["neutral"], found["primed"] - found["value"], atol=1e-9)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_without_priming_nothing_changes_at_all(teaching, model_of, architecture, seen):
    result = run(teaching(Here(model_of(architecture))), neutral=2, problems=6)
    table = result.tables["priming_heads"].query("strategy == 'unprimed'")
    assert (table["change"] == 0).all()
    assert (table["value"] == 0).all()
    assert not table.query("measure in ('divergence', 'priming')")["moved"].any()
    assert (table.query("measure == 'divergence'")["primed"] == 0).all()
    assert "unprimed: the divergence is exactly 0 in every head on 6 responses" in result.statements[2]
    assert "the teacher reads the bare question" in result.statements[2]
    assert not [figure for figure in result.figures if "unprimed" in figure.title]
    row = result.tables["priming_heads_strategies"].query("strategy == 'unprimed'").iloc[0]
    assert row["unprimed"]
    json.dumps([figure.plotly for figure in result.figures])


@pytest.fixture(scope="module")
def planted(torch, tokenizer, problems, responses, tmp_path_factory):
    """A teacher whose head 2 of layer 0 attends to tokens that only the priming has, and the prompts with these."""
    from transformers import AutoModelForCausalLM

    from architectures import write_model
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.reference import resolve
    from kdprobe.probing.priming.heads.neutral import SENTENCES
    from kdprobe.strategies.prompt_pair import bare

    folder = write_model("gpt2", tokenizer, tmp_path_factory.mktemp("planted"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    plain_ids = {problem.id: prompt_ids(tokenizer, bare(problem)) for problem in problems}
    elsewhere = {id_ for ids in plain_ids.values() for id_ in ids}
    # At the start of a text and within it.
    elsewhere |= {id_ for sentence in SENTENCES for id_ in tokenizer(f"{sentence} {sentence}")["input_ids"]}
    elsewhere |= {id_ for response in responses for id_ in response.token_ids.tolist()}
    own = [id_ for id_ in range(len(tokenizer)) if id_ not in elsewhere and tokenizer.decode([id_]).strip().isalpha()]
    assert len(own) > 5
    prompts = {}
    for problem in problems:
        ids = plain_ids[problem.id]
        at = find(ids, tokenizer(problem.question)["input_ids"])
        prompts[problem.id] = [*ids[:at], *own[:6], *tokenizer(".\n\n")["input_ids"], *ids[at:]]
    width, head, size = model.config.n_embd, 2, model.config.n_embd // model.config.n_head
    with torch.no_grad():
        words, places = model.transformer.wte.weight, model.transformer.wpe.weight
        first, second = (block.ln_1 for block in model.transformer.h)
        words[:, 0] = places[:, 0] = 0
        words[own, 0] = 3
        first.weight[0], first.bias[0] = 1, 0
        second.weight[0] = second.bias[0] = 0
        projection = model.transformer.h[0].attn.c_attn
        queries, keys = (slice(start + head * size, start + (head + 1) * size) for start in (0, width))
        for part in (queries, keys):
            projection.weight[:, part] = projection.bias[part] = 0
        projection.bias[queries.start] = 4
        projection.weight[0, keys.start] = 4
    model.save_pretrained(folder)
    return resolve(str(folder)), prompts


def test_a_head_that_attends_to_the_priming_alone_comes_first(teaching, planted):
    record, prompts = planted
    given = teaching(Here(record))
    result = run(replace(given, primings=[given.primings[0], replace(given.primings[1], prompts=prompts)]))
    table = result.tables["priming_heads"].query("strategy == 'teacher' and measure == 'priming'")
    first = table.sort_values("value", ascending=False).iloc[0]
    assert (first["layer"], first["head"], first["moved"]) == (0, 2, True)
    assert first["primed"] > 0.9
    assert first["value"] > 0.5
    assert first["p_over_problems"] <= 0.05
    assert first["p_over_texts"] == pytest.approx(1 / 20)
    assert "attention to the priming: layer 0, head 2 (+" in result.statements[3]
    moved = [(each["measure"], each["layer"], each["head"]) for each in result.summary["moved"]]
    assert ("priming", 0, 2) in moved
    # What it attends to otherwise is only scaled down.
    divergence = result.tables["priming_heads"].query("strategy == 'teacher' and measure == 'divergence'")
    assert divergence.query("layer == 0 and head == 2")["primed"].item() < 0.2
    (figure,) = [figure for figure in result.figures if "to the added text" in figure.title]
    cells = np.array(figure.plotly["data"][0]["z"])
    assert np.unravel_index(cells.argmax(), cells.shape) == (2, 0)


def primed_with(given, tokenizer, problems, form):
    """The teaching with one priming, whose prompts are the questions in a form."""
    from kdprobe.models.conversation import prompt_ids

    prompts = {
        problem.id: prompt_ids(tokenizer, [{"role": "user", "content": form.format(question=problem.question)}])
        for problem in problems
    }
    return replace(given, primings=[replace(given.primings[1], prompts=prompts)])


def test_an_untrained_teacher_is_not_said_to_be_moved_by_a_neutral_text(teaching, tiny_record, tokenizer, problems):
    """The priming is itself a neutral text, so it is one like the others."""
    result = run(primed_with(teaching(Here(tiny_record)), tokenizer, problems, NEUTRAL + "\n\n{question}"))
    assert "None of the 8 heads is shown to have moved." in result.statements[2]
    assert not result.summary["moved"]


def test_where_the_question_is_not_found_the_response_alone_is_compared(teaching, tiny_record, problems, tokenizer):
    result = run(primed_with(teaching(Here(tiny_record)), tokenizer, problems, "{question}\n{question}"))
    table = result.tables["priming_heads"]
    assert table["moved"].isna().all()
    assert table.query("measure == 'divergence'")["value"].isna().all()
    assert (table.query("measure == 'divergence'")["primed"] > 0).all()
    assert table.query("measure == 'question'")["primed"].isna().all()
    assert "in 6 of 6 problems, the tokens of the question do not occur exactly once" in result.statements[2]
    assert "whether a head moved cannot be decided" in result.statements[2]
    json.dumps([figure.plotly for figure in result.figures])


def test_tokens_that_a_teacher_never_reads_do_not_matter(teaching, model_of):
    """Embeddings of unused special tokens, whose ids are among the first, may be anything."""
    record = model_of("llama", tie_word_embeddings=False)
    spoilt = Here(record).loaded()
    spoilt.model.get_input_embeddings().weight.data[[3, 4, 6, 7]] = float("nan")
    whole, found = (run(teaching(teacher), neutral=2) for teacher in (Here(record), Loaded(spoilt)))
    pd.testing.assert_frame_equal(found.tables["priming_heads"], whole.tables["priming_heads"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"teacher": object()}, "The teacher runs elsewhere and does not expose its attention."),
        ({"primings": []}, "does not learn from a teacher's answers"),
    ],
)
def test_a_teacher_that_cannot_be_read_is_a_result_that_says_so(teaching, tiny_record, change, reason):
    result = run(teaching(**{"teacher": Here(tiny_record), **change}))
    assert_only_says(result, reason)


def test_a_teacher_without_heads_is_a_result_that_says_so(teaching, other_families):
    from kdprobe.models.reference import resolve

    result = run(teaching(Here(resolve(str(other_families["mamba"])))), neutral=1)
    assert not result.tables
    assert "cannot find the attention heads of this architecture (mamba)" in result.statements[0]


def test_prompts_that_are_not_known_are_not_made_up(teaching, tiny_record):
    given = teaching(Here(tiny_record))
    result = run(replace(given, primings=[replace(priming, prompts={}) for priming in given.primings]))
    assert not result.tables
    assert "The prompts that the teacher read were not recorded." in result.statements[0]


def test_a_context_that_is_too_short_is_said(teaching, model_of):
    result = run(teaching(Here(model_of("gpt2", n_positions=32))))
    assert not result.tables
    assert "the teacher's context window is 32" in result.statements[0]


def test_few_problems_cannot_tell(teaching, tiny_record):
    result = run(teaching(Here(tiny_record)), problems=5)
    assert result.tables["priming_heads"].query("strategy == 'teacher'")["moved"].isna().all()
    assert "5 problems: too few to tell whether a head moved; at least 6 problems" in result.statements[3]


def test_in_an_experiment_it_comes_before_training(tiny_config, tiny_model, run_cli, tmp_path):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.registry import Host

    config = tiny_config(tiny_model, extra='analyses = ["priming_heads"]')
    plan = make_plan(load_experiment(config, Host()), Host())
    assert [stage.kind for stage in plan.stages][:4] == ["transfer", "transfer", "analyse", "distill"]
    run_cli("run", config, "--store", tmp_path, "--json")
    (file,) = tmp_path.glob("stages/analyse/*/priming_heads.parquet")
    table = pd.read_parquet(file)
    assert set(table["strategy"]) == {"unprimed", "teacher"}
    assert len(table) == 2 * 6 * 8


def test_learned_sinks_are_told_apart_from_tokens(torch, teaching, model_of):
    result = run(teaching(Here(model_of("gpt_oss"))), problems=2, neutral=1)
    table = result.tables["priming_heads"]
    shares = table.query("measure != 'divergence'").groupby(["strategy", "layer", "head"])["primed"].sum()
    np.testing.assert_allclose(shares, 1, atol=1e-4)
    assert table.query("measure == 'learned_sink'")["primed"].max() > 0.001
    assert "goes to learned sinks, which are not tokens" in result.statements[-1]


def test_a_teacher_in_bfloat16_is_read_as_it_runs(teaching, tiny_record):
    class Coarse(Here):
        def loaded(self):
            from kdprobe.models.load import load

            return load(self.record, dtype="bfloat16")

    fine, coarse = (run(teaching(teacher(tiny_record)), problems=2, neutral=2) for teacher in (Here, Coarse))
    one, other = (result.tables["priming_heads"] for result in (fine, coarse))
    assert set(other["measure"]) == set(one["measure"]), "rounding is no learned sink"
    np.testing.assert_allclose(other["primed"], one["primed"], atol=0.05)
    assert (other.query("strategy == 'unprimed'")["change"] == 0).all()
    assert "The teacher's attention was measured in bfloat16" in coarse.statements[-1]
    assert not any("bfloat16" in statement for statement in fine.statements)
