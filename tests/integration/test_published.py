"""The published recipe: each of its misalignments, row by row, and that every output of such a run names them."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.special import log_softmax

N = 32
TEMPERATURE, ALPHA = 5.942267335064758, 0.6093348343631224


@pytest.fixture(scope="module")
def many(problem_rows):
    from kdprobe.problems.problem import Problem

    return [Problem.from_gsm8k(f"p{number}", row) for number, row in enumerate(problem_rows(0, N), start=1)]


@pytest.fixture(scope="module")
def primed(many):
    from kdprobe.host.registry import Host

    render = Host().build("strategies", "ground-truth", None)
    return {problem.id: render(problem) for problem in many}


@pytest.fixture(scope="module")
def lessons(torch, many, primed, tiny_record, tiny_teacher):
    """The recipe's examples, with the tokenizer."""
    from kdprobe.distill.published import PromptRows, misaligned
    from kdprobe.models.load import load_tokenizer

    tokenizer = load_tokenizer(tiny_record)
    prompt_rows = PromptRows(tiny_teacher(), len(tokenizer), tokenizer.pad_token_id, TEMPERATURE)
    return misaligned(many, primed, tokenizer, prompt_rows), tokenizer


@pytest.fixture(scope="module")
def dense(torch, tiny_record):
    """Log-probabilities of the tiny model after every token of some ids, at a temperature, in float64."""
    from kdprobe.models.load import load

    model = load(tiny_record).model

    def read(ids, temperature=1.0):
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0].double().numpy()
        return log_softmax(logits / temperature, axis=-1)

    return read


def text_ids(tokenizer, messages):
    return tokenizer("\n\n".join(message["content"] for message in messages))["input_ids"]


def met(number):
    """The problem whose logits problem `number` of 32 gets: the keys of the file in text order."""
    order = [1, *range(10, 20), 2, *range(20, 30), 3, 30, 31, 32, 4, 5, 6, 7, 8, 9]
    return order[number - 1]


def test_problems_meet_the_logits_of_others_in_alphabetical_order(lessons):
    examples, _ = lessons
    assert [example.problem for example in examples] == [f"p{number}" for number in range(1, N + 1)]
    assert [example.lesson.problem for example in examples] == [f"p{met(number)}" for number in range(1, N + 1)]


def test_student_reads_the_question_and_is_to_predict_the_answer_unshifted(lessons, many, primed):
    examples, tokenizer = lessons
    for number, (example, problem) in enumerate(zip(examples, many, strict=True), start=1):
        question = text_ids(tokenizer, primed[problem.id].student)
        answer = tokenizer(problem.plain_solution, add_special_tokens=False)["input_ids"]
        prompt = text_ids(tokenizer, primed[f"p{met(number)}"].teacher)
        count = min(len(question), len(answer), len(prompt))
        assert example.input_ids == question
        # Position t is not asked for token t + 1 of what it reads, but for token t of something else.
        assert example.positions == list(range(count))
        assert example.labels == answer[:count]
        assert example.lesson.followers == prompt[1 : count + 1]


def test_teachers_rows_are_those_over_another_problems_primed_prompt(lessons, primed, dense):
    examples, tokenizer = lessons
    for number, example in enumerate(examples, start=1):
        prompt = text_ids(tokenizer, primed[f"p{met(number)}"].teacher)
        expected = dense(prompt)[: len(example.labels)]
        rows = example.lesson.rows()
        # The whole vocabulary, as published: nothing is left for a tail.
        assert rows.ids.shape == expected.shape
        np.testing.assert_allclose(rows.logprobs, np.take_along_axis(expected, rows.ids, -1), atol=1e-4)
        assert (rows.tail_logmass[TEMPERATURE] == -np.inf).all()


def test_loss_is_the_published_one_over_the_misaligned_rows(
    lessons, many, primed, dense, tiny_record, tiny_teacher, tmp_path
):
    from kdprobe.distill.distiller import TrainContext
    from kdprobe.experiment.arm_results import ArmResults
    from kdprobe.experiment.audit import _misaligned
    from kdprobe.host.registry import Host

    examples, tokenizer = lessons
    losses = []
    for number, example in enumerate(examples, start=1):
        prompt = text_ids(tokenizer, primed[f"p{met(number)}"].teacher)
        for place, label in enumerate(example.labels):
            log_p, log_q = (dense(ids, TEMPERATURE)[place] for ids in (prompt, example.input_ids))
            kl = (np.exp(log_q) * (log_q - log_p)).sum()
            losses.append(-ALPHA * dense(example.input_ids)[place, label] + (1 - ALPHA) * TEMPERATURE**2 * kl)
    host = Host()
    distiller = host.build("distillers", "published", host.options("distillers", "published", {"batch_size": N}))
    context = TrainContext(
        student=tiny_record,
        dtype="float32",
        problems=many,
        conversations=primed,
        transfer=None,
        teacher=tiny_teacher(),
        seed=0,
        folder=tmp_path / "adapter",
    )
    trained = distiller.train(context)
    # Before the first step the adapter changes nothing, so its dropout does not either.
    assert trained.history[0]["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    alignment = trained.alignment
    assert alignment.positions == len(losses)
    right = sum(len(e.labels) for number, e in enumerate(examples, start=1) if met(number) == number)
    assert alignment.own_problem == pytest.approx(right / len(losses))
    assert alignment.own_problem < 0.05
    assert alignment.own_next_token < 0.2
    assert alignment.same_token < 0.2
    arm = ArmResults("unprimed", "unprimed", "published", 0, None, None, {"alignment": asdict(alignment)}, [], {}, None)
    codes = [finding.code for finding in _misaligned([arm])]
    assert codes == ["misaligned-positions", "misaligned-tokens", "misaligned-problems"]


@pytest.fixture(scope="module")
def published_run(torch, tiny_model, tiny_config, tmp_path_factory, run_cli):
    """A tiny run of the recipe; its config, store and what was printed with and without `--json`."""
    file = tiny_config(tiny_model, strategies='["none"]')
    text = file.read_text().replace('name = "logits"', 'name = "published"')
    file.write_text(text.replace("options = { epochs = 1, batch_size = 2, learning_rate = 1e-2 }", "", 1))
    store = tmp_path_factory.mktemp("published")
    return file, store, run_cli("run", file, "--store", store, "--json"), run_cli("run", file, "--store", store)


def test_rate_is_the_published_one(published_run):
    _, store, _, _ = published_run
    (run,) = json.loads(run_json(store))["arms"][-1:]
    history = json.loads((store / "stages" / "distill" / run["distill"] / "training.json").read_text())["history"]
    # Four problems, batch 1, two epochs: it falls in the first and climbs back in the second.
    expected = [5e-6 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(8)]
    assert [row["learning_rate"] for row in history] == pytest.approx(expected)


def run_json(store):
    (file,) = store.glob("runs/*/run.json")
    return file.read_text()


def test_every_output_of_such_a_run_names_the_misalignments(published_run, run_cli, tmp_path):
    from kdprobe.distill.plugin import PUBLISHED_CAUTION

    file, store, data, text = published_run
    named = [
        "positions of the teacher's prompt",
        "at the same position",
        "shift by one",
        "alphabetical order",
        "hardly changes",
    ]
    assert all(words in PUBLISHED_CAUTION for words in named)
    name = json.loads(run_json(store))["run"]
    outputs = {
        "run --json": json.dumps(json.loads(data)["cautions"]),
        "run": text,
        "run.json": run_json(store),
        "page": (store / "runs" / name / "report.html").read_text(),
        "report": run_cli("report", name, "--store", store),
        "plan": run_cli("plan", file, "--store", store),
        "plan --json": run_cli("plan", file, "--store", store, "--json"),
        "runs": run_cli("runs", "--store", store),
        "runs --json": run_cli("runs", "--store", store, "--json"),
        "export --json": run_cli("export", f"{name}/unprimed", "--store", store, "--merged", tmp_path / "m", "--json"),
        "kdprobe.json": (tmp_path / "m" / "kdprobe.json").read_text(),
    }
    training = [file.read_text() for file in store.glob("stages/distill/*/training.json")]
    outputs["training.json"] = next(text for text in training if '"caution": ""' not in text)
    for output, text in outputs.items():
        flat = " ".join(text.replace("&#39;", "'").split())
        assert " ".join(PUBLISHED_CAUTION.split()) in flat, output
    # Above everything else, not only in the verdict.
    assert '<p class="caution">The distiller' in outputs["page"]
    codes = {finding["code"] for finding in json.loads(data)["findings"]}
    # With four problems, alphabetical order is numerical order.
    assert {"misaligned-positions", "misaligned-tokens", "adapter-barely-moved"} <= codes
    assert "misaligned-problems" not in codes


def test_a_sound_distillation_is_aligned_and_carries_no_caution(distil, transfer_set):
    from kdprobe.distill.alignment import Alignment

    positions = sum(len(response.token_ids) for response in transfer_set.responses)
    assert distil("logits").alignment == Alignment(positions, 1.0, 1.0, 1.0)
    assert distil("fine-tune").alignment.own_next_token == 1.0
    assert distil("sequence").alignment.own_problem is None
