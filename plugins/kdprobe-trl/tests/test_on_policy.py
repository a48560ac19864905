"""TRL's trainer on kdprobe's conversations, against independent references in float64."""

import json
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from kdprobe import KdprobeError, NonFiniteError, PromptPair
from kdprobe.models import load_model, merge, prompt_ids, resolve
from kdprobe.strategies import bare
from kdprobe.teachers import TransformersOptions, TransformersTeacher
from kdprobe.testing import check_distiller, host_with
from kdprobe_trl.distiller import prompts_of
from kdprobe_trl.primed import PrimedTeacher

pytest_plugins = ["kdprobe.testing"]
NAME = "trl-on-policy"
OPTIONS = {"batch_size": 2, "learning_rate": 1e-2, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def host():
    return host_with("kdprobe_trl")


@pytest.fixture
def context(train_context):
    return train_context({"teacher"})


@pytest.fixture
def seen(monkeypatch):
    """What TRL passed to the teacher: a pair of ids and mask per forward pass."""
    from kdprobe_trl.primed import PrimedBackbone

    calls, forward = [], PrimedBackbone.forward

    def watched(self, input_ids, attention_mask, **known):
        calls.append((input_ids.clone(), attention_mask.clone()))
        return forward(self, input_ids, attention_mask, **known)

    monkeypatch.setattr(PrimedBackbone, "forward", watched)
    return calls


def train(host, context, **options):
    return host.create("distillers", NAME, {**OPTIONS, **options}).train(context)


def test_contract(host, train_context):
    trained = check_distiller(host, NAME, OPTIONS, train_context)
    assert [row["step"] for row in trained.history] == [1, 2, 3]
    assert trained.relative_change > 0


def test_the_student_answers_the_bare_question_and_the_teacher_reads_the_primed_one(host, context, seen, tiny_record):
    """The first step's loss is the reverse KL between the two, each after its own prompt."""
    trained = train(host, context, max_steps=1)
    ((ids, mask),) = seen
    loaded = load_model(tiny_record)
    asked = {tuple(prompt_ids(loaded.tokenizer, pair.student)): pair for pair in context.conversations.values()}
    total, tokens, prompts = 0.0, 0, set()
    for row, valid in zip(ids, mask.bool(), strict=True):
        read = row[valid].tolist()
        (student,) = [prompt for prompt in asked if tuple(read[: len(prompt)]) == prompt]
        teacher = prompt_ids(loaded.tokenizer, asked[student].teacher)
        assert list(student) != teacher
        prompts.add(student)
        answer = read[len(student) :]
        q, p = (log_probabilities(loaded, list(prompt), answer) for prompt in (student, teacher))
        total += float((q.exp() * (q - p)).sum())
        tokens += len(answer)
    assert len(prompts) == 2
    assert tokens > 2
    assert trained.history[0]["loss"] == pytest.approx(total / tokens, rel=1e-3)


def log_probabilities(loaded, prompt, answer):
    """Log-probabilities of all tokens at every position of an answer, `[tokens, V]`, float64."""
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([[*prompt, *answer]])).logits[0]
    return logits[len(prompt) - 1 : -1].double().log_softmax(dim=-1)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_an_unprimed_teacher_with_the_students_weights_has_nothing_to_teach(host, context, beta):
    same = {problem.id: PromptPair(bare(problem), bare(problem)) for problem in context.problems}
    trained = train(host, replace(context, conversations=same), max_steps=1, beta=beta)
    assert trained.history[0]["loss"] == pytest.approx(0, abs=1e-5)
    primed = train(host, context, max_steps=1, beta=beta)
    assert primed.history[0]["loss"] > 1e-3


def test_states_are_those_of_the_primed_prompt_wherever_the_padding_is(context, tiny_record):
    loaded = load_model(tiny_record)
    prompts = prompts_of(context, loaded.tokenizer, loaded.tokenizer)
    primed = PrimedTeacher(loaded.model, prompts, loaded.tokenizer.pad_token_id)
    answers = [[7, 8, 9, 10], [11], [12, 13]]
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=False)]
    width = max(map(len, rows)) + 3
    left = [0, width - len(rows[1]), 1]
    ids = torch.full((3, width), loaded.tokenizer.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, (tokens, start) in enumerate(zip(rows, left, strict=True)):
        ids[row, start : start + len(tokens)] = torch.tensor(tokens)
        mask[row, start : start + len(tokens)] = 1
    with torch.inference_mode():
        states = primed.base_model(input_ids=ids, attention_mask=mask, logits_to_keep=3).last_hidden_state
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=False)):
            own = prompts[prompt]
            alone = loaded.model.base_model(torch.tensor([[*own, *answer]])).last_hidden_state[0, len(own) - 1 :]
            first = left[row] + len(prompt) - 1
            found = states[row, first : first + len(answer) + 1]
            torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-4)
            rest = states[row].clone()
            rest[first : first + len(answer) + 1] = 0
            assert not rest.any()


def test_a_prompt_that_is_not_kdprobes_is_refused(context, tiny_record):
    loaded = load_model(tiny_record)
    primed = PrimedTeacher(
        loaded.model, prompts_of(context, loaded.tokenizer, loaded.tokenizer), loaded.tokenizer.pad_token_id
    )
    with pytest.raises(KdprobeError, match="not one of kdprobe's student conversations"):
        primed.base_model(torch.tensor([[1, 2, 3]]), torch.ones(1, 3))


def test_prompts_that_begin_others_are_refused(tiny_record):
    loaded = load_model(tiny_record)
    with pytest.raises(KdprobeError, match="is a prefix of another's"):
        PrimedTeacher(loaded.model, {(1, 2): (5,), (9,): (5,), (1, 2, 3): (6,)}, 0)


def test_one_student_prompt_for_two_teacher_prompts_is_refused(context, tiny_record):
    first, second = context.problems[:2]
    conversations = {
        **context.conversations,
        second.id: PromptPair(context.conversations[second.id].teacher, context.conversations[first.id].student),
    }
    tokenizer = load_model(tiny_record).tokenizer
    with pytest.raises(KdprobeError, match=f"Problem {second.id!r} has the same student prompt as another problem"):
        prompts_of(replace(context, conversations=conversations), tokenizer, tokenizer)


def test_a_teacher_without_weights_here_is_refused(host, context):
    with pytest.raises(KdprobeError, match="needs the teacher's weights in this process"):
        train(host, replace(context, teacher=object()))


def padded(tiny_model, folder, extra, added=()):
    """The tiny model with `extra` rows that are not tokens, some of them taken by added tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.resize_token_embeddings(len(tokenizer) + extra, mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.add_tokens(list(added))
    tokenizer.save_pretrained(folder)
    return folder


def of_teacher(context, folder):
    return replace(context, teacher=TransformersTeacher(TransformersOptions(model=str(folder))))


@pytest.mark.parametrize("student_extra", [0, 64])
@pytest.mark.parametrize("teacher_extra", [0, 128])
def test_models_of_one_tokenizer_may_be_padded_differently(
    host, context, tiny_model, tmp_path, student_extra, teacher_extra
):
    """Padding rows of a matrix do not affect the loss: it is bit-identical to that of the models without padding."""
    expected = train(host, context, max_steps=1).history[0]["loss"]
    student = resolve(str(padded(tiny_model, tmp_path / "student", student_extra)))
    teacher = padded(tiny_model, tmp_path / "teacher", teacher_extra, added=["<tool>"] if teacher_extra else [])
    other = replace(of_teacher(context, teacher), student=student, folder=tmp_path / "adapter")
    assert train(host, other, max_steps=1).history[0]["loss"] == pytest.approx(expected, rel=1e-5)
    # The adapter fits the student as it is, padding and all.
    assert (
        merge(load_model(student), tmp_path / "adapter").model.config.vocab_size
        == len(load_model(student).tokenizer) + student_extra
    )


def test_another_tokenizer_is_refused_with_advice_that_works(host, context, tiny_model, tmp_path):
    folder = padded(tiny_model, tmp_path / "teacher", 0)
    settings = json.loads((folder / "tokenizer.json").read_text())
    first, second = list(settings["model"]["vocab"])[-2:]
    vocabulary = settings["model"]["vocab"]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    with pytest.raises(KdprobeError, match=r"2 of \d+ ids stand for different tokens.*distill.name = \"sequence\""):
        train(host, of_teacher(context, folder), max_steps=1)


def test_a_training_that_diverges_ends_with_a_sentence(host, context):
    with pytest.raises(NonFiniteError, match=r"logits are NaN or infinite at training step 2\. Lower"):
        train(host, context, learning_rate=1e36)


def test_the_same_seed_gives_the_same_student_and_another_seed_another(host, train_context):
    norms = [train(host, train_context({"teacher"}, seed=seed), max_steps=2).adapter_norm for seed in (0, 0, 1)]
    assert norms[0] == norms[1] != norms[2]


def test_nothing_is_printed_to_stdout(host, context, capsys):
    train(host, context, max_steps=1)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("wrong", [{"beta": 2}, {"max_new_tokens": 0}, {"temperature": 0}, {"lmbda": 1}])
def test_options_are_checked(host, wrong):
    with pytest.raises(ValidationError):
        host.options("distillers", NAME, wrong)
