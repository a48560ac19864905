import numpy as np
import pytest
from scipy.special import log_softmax

from kdprobe.errors import KdprobeError
from kdprobe.evaluation.engines.builtin import TransformersStudent
from kdprobe.evaluation.engines.engine import Scored
from kdprobe.evaluation.likelihood import gold_log_probabilities, gold_sequences
from kdprobe.models import lm_head
from kdprobe.students.sequence import value_span


@pytest.fixture(scope="module")
def plain(torch, tiny_record):
    """The tiny model, whose logits are a plain matrix product."""
    from kdprobe.models.load import load

    return load(tiny_record)


@pytest.fixture(scope="module")
def capped(torch, plain):
    """A random Gemma 2, which caps its logits, with the tiny tokenizer and a vocabulary padded beyond it."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    from kdprobe.models.load import LoadedModel

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(plain.tokenizer) + 9,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        initializer_range=0.3,
        final_logit_softcapping=2.0,
        eos_token_id=plain.tokenizer.eos_token_id,
        pad_token_id=plain.tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return LoadedModel(Gemma2ForCausalLM(config).eval(), plain.tokenizer, plain.record, "float32")


def reference(torch, student, problem):
    """One problem at a time, all logits, in float64: value, solution, and how many tokens."""
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.turn import response_ids
    from kdprobe.strategies.prompt_pair import bare

    text = problem.plain_solution
    prompt, solution = prompt_ids(student.tokenizer, bare(problem)), response_ids(student.tokenizer, text)[:-1]
    with torch.inference_mode():
        logits = student.model(torch.tensor([[*prompt, *solution]])).logits[0, :, : len(student.tokenizer)]
    log_p = log_softmax(logits.double().numpy(), axis=-1)[len(prompt) - 1 : -1]
    each = log_p[np.arange(len(solution)), solution]
    # Decoded token by token: the value's are those that reach into where it stands.
    ends = [len(student.tokenizer.decode(solution[: count + 1])) for count in range(len(solution))]
    begin, end = value_span(text, problem.value)
    value = [place for place in range(len(solution)) if ends[place] > begin and (ends[place - 1] if place else 0) < end]
    return each[value].sum(), each.sum(), len(solution)


@pytest.mark.parametrize("name", ["plain", "capped"])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("chunk_rows", [1, 7, 10_000])
def test_they_are_those_of_all_logits_in_float64(name, batch_size, chunk_rows, request, torch, problems, monkeypatch):
    student = request.getfixturevalue(name)
    monkeypatch.setattr(lm_head, "CHUNK_BYTES", chunk_rows * 4 * len(student.tokenizer))
    found = gold_log_probabilities(student, gold_sequences(student, problems), batch_size=batch_size, label="test")
    assert len({one.tokens for one in found}) > 1
    for problem, one in zip(problems, found, strict=True):
        value, solution, tokens = reference(torch, student, problem)
        assert one.value == pytest.approx(value, abs=1e-4)
        assert one.solution == pytest.approx(solution, abs=1e-3)
        assert one.tokens == tokens
        assert one.solution < one.value < 0


def test_the_vocabulary_wide_head_never_sees_all_rows(torch, plain, problems):
    head = plain.model.get_output_embeddings()
    seen = []
    handle = head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[-2]))
    try:
        gold_log_probabilities(plain, gold_sequences(plain, problems), batch_size=2, label="test")
    finally:
        handle.remove()
    # Only, and once for all batches, the few tokens on which it is tested whether the logits are a product.
    assert len(problems) > 2
    assert seen == [8, 8]
    assert plain.model.get_output_embeddings() is head


def test_without_a_chat_template_too(torch, plain, problems):
    template, plain.tokenizer.chat_template = plain.tokenizer.chat_template, None
    try:
        found = gold_log_probabilities(plain, gold_sequences(plain, problems[:2]), batch_size=2, label="test")
        for problem, one in zip(problems, found, strict=False):
            _, solution, tokens = reference(torch, plain, problem)
            assert one.solution == pytest.approx(solution, abs=1e-3)
            assert one.tokens == tokens
    finally:
        plain.tokenizer.chat_template = template


def test_a_gold_solution_beyond_the_context_window_is_refused(plain, problems):
    student = TransformersStudent(plain)
    lengths = {sequence.id: len(sequence.ids_without_end) for sequence in gold_sequences(student, problems)}
    student.context_length = max(lengths.values())
    assert len(gold_sequences(student, problems)) == len(problems)
    student.context_length -= 1
    longest = [id_ for id_, length in lengths.items() if length == max(lengths.values())]
    with pytest.raises(KdprobeError, match=rf"{student.context_length} tokens; .* longer than that: {longest[0]} \("):
        gold_sequences(student, problems)


def test_an_engine_that_scores_too_few_tokens_is_refused(plain, problems, monkeypatch):
    def short(_self, passages):
        return [Scored([-1.0] * (len(passage.token_ids) - 1)) for passage in passages]

    monkeypatch.setattr(TransformersStudent, "score", short)
    sequences = gold_sequences(plain, problems[:2])
    tokens = sum(len(sequence.solution) for sequence in sequences)
    with pytest.raises(KdprobeError, match=f"log-probabilities for {tokens - 2} of {tokens} tokens"):
        gold_log_probabilities(plain, sequences, batch_size=2, label="test")
