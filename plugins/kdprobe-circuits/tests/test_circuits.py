"""Circuits against independent references, from Hugging Face's modules, over the whole vocabulary, in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kdprobe import KdprobeError
from kdprobe.models import resolve
from kdprobe.probing import PatternView, head_metrics_of, measure
from kdprobe.students import Student
from kdprobe.testing import check_analysis, host_with, write_random_adapter
from kdprobe_circuits.copying import copying_score
from kdprobe_circuits.rollout import rollout_to_numbers
from kdprobe_circuits.successor import number_tokens, successor_score

pytest_plugins = ["kdprobe.testing"]


@pytest.fixture(scope="module")
def host():
    return host_with("kdprobe_circuits")


@pytest.fixture(scope="module")
def context(tiny_model, analysis_context, tmp_path_factory):
    """The kit's context around a model whose norms scale, with one more layer, so that the order of layers matters."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model") / "scaled"
    config = LlamaConfig.from_pretrained(tiny_model, num_hidden_layers=3, tie_word_embeddings=False)
    torch.manual_seed(1)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 2)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    adapter = write_random_adapter(folder, tmp_path_factory.mktemp("adapter") / "random")
    students = [Student("untrained", resolve(str(folder))), Student("tuned", resolve(str(folder)), adapter)]
    return replace(analysis_context, students=students)


@pytest.fixture(scope="module")
def parts(context):
    """A student's weights by name, from Hugging Face, float64: value and output per layer and query head."""

    def read(index):
        model = context.students[index].load(dtype="float32").model
        heads, width = model.config.num_attention_heads, model.config.hidden_size
        size = width // heads
        layers = []
        for layer in model.model.layers:
            scale = layer.input_layernorm.weight.double()
            value = layer.self_attn.v_proj.weight.double() * scale
            output = layer.self_attn.o_proj.weight.double()
            shared = heads // model.config.num_key_value_heads
            layers.append(
                [
                    (
                        value[(head // shared) * size : (head // shared + 1) * size],
                        output[:, head * size : (head + 1) * size],
                    )
                    for head in range(heads)
                ]
            )
        unembedding = model.lm_head.weight.double() * model.model.norm.weight.double()
        return model, layers, model.model.embed_tokens.weight.double(), unembedding

    return read


def table(result, name, student, column):
    rows = result.tables[name]
    rows = rows[rows.student == student].sort_values(["layer", "head"])
    return rows[column].to_numpy()


@torch.inference_mode()
def test_copying_scores_are_those_of_the_whole_circuit(host, context, parts):
    result = check_analysis(host, "ov-copying", None, context)
    for index, name in enumerate(["untrained", "tuned"]):
        _, layers, embedding, unembedding = parts(index)
        expected = []
        for value, output in (head for layer in layers for head in layer):
            eigenvalues = torch.linalg.eigvals(embedding @ value.T @ output.T @ unembedding.T)
            expected.append(float(eigenvalues.real.sum() / eigenvalues.abs().sum()))
        # The other eigenvalues are zero, and come out as roundings of it.
        np.testing.assert_allclose(table(result, "ov_copying", name, "copying_score"), expected, atol=1e-3)
    assert len(result.figures) == 2
    assert result.statements[0].startswith("Number of heads that copy (score above 0.5), out of 12: untrained ")


@pytest.mark.parametrize(
    ("architecture", "before", "behind"),
    [
        ("gemma2", "input_layernorm", "post_attention_layernorm"),
        ("gemma3_text", "input_layernorm", "post_attention_layernorm"),
        ("glm4", "input_layernorm", "post_self_attn_layernorm"),
        ("olmo2", None, "post_attention_layernorm"),
    ],
)
@torch.inference_mode()
def test_norms_behind_attention_are_in_the_circuit(architecture, before, behind, host, context, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(context.students[0].base.path)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():
        weight.normal_(std=0.3) if weight.dim() > 1 else weight.add_(torch.randn_like(weight), alpha=0.5)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    student = Student(architecture, resolve(str(tmp_path)))

    def scale(norm):
        return (1 if architecture.startswith("gemma") else 0) + norm.weight.double()

    embedding, unembedding = model.model.embed_tokens.weight.double(), model.lm_head.weight.double()
    expected = []
    for layer in model.model.layers:
        value = layer.self_attn.v_proj.weight.double()
        value = value if before is None else value * scale(getattr(layer, before))
        output = scale(getattr(layer, behind))[:, None] * layer.self_attn.o_proj.weight.double()
        for head in range(4):
            shared, own = slice(8 * (head // 2), 8 * (head // 2) + 8), slice(8 * head, 8 * head + 8)
            circuit = embedding @ value[shared].T @ output[:, own].T @ (unembedding * scale(model.model.norm)).T
            eigenvalues = torch.linalg.eigvals(circuit)
            expected.append(float(eigenvalues.real.sum() / eigenvalues.abs().sum()))
    result = check_analysis(host, "ov-copying", None, replace(context, students=[student]))
    np.testing.assert_allclose(table(result, "ov_copying", architecture, "copying_score"), expected, atol=1e-3)
    assert np.ptp(expected) > 0.1
    check_analysis(host, "successor-heads", None, replace(context, students=[student]))


def test_a_head_that_writes_what_it_reads_copies_and_its_negative_does_the_opposite():
    directions = torch.linalg.qr(torch.randn(16, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    value, output = torch.stack([directions] * 3), torch.stack([directions.T, -directions.T, directions.T])
    # The third turns every direction by a right angle.
    output[2] = torch.tensor([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1], [0, 0, -1, 0]]).double() @ directions.T
    scores = copying_score(value, output, torch.eye(16, dtype=torch.float64))
    np.testing.assert_allclose(scores, [1, -1, 0], atol=1e-12)


def test_students_without_a_change_have_none(host, context):
    base = context.students[0]
    same = replace(context, students=[base, replace(base, name="twin")])
    statements = host.create("analyses", "ov-copying").run(same).statements
    assert "twin: no head's copying score differs from that of the same head in 'untrained'." in statements


@torch.inference_mode()
def test_successor_scores_are_those_of_hugging_face(host, context, parts):
    result = check_analysis(host, "successor-heads", None, context)
    for index, name in enumerate(["untrained", "tuned"]):
        model, layers, embedding, unembedding = parts(index)
        tokenizer = context.students[index].load(dtype="float32").tokenizer
        numbers = number_tokens(tokenizer, 100)
        hidden = model(torch.tensor(numbers)[:, None], output_hidden_states=True).hidden_states
        expected = []
        for depth, layer in enumerate(layers):
            states = embedding[numbers] if depth == 0 else hidden[1][:, 0].double()
            normed = states / (states.square().mean(-1, keepdim=True) + model.config.rms_norm_eps).sqrt()
            for value, output in layer:
                logits = normed @ value.T @ output.T @ unembedding[numbers].T
                right = [int(logits[i].argmax()) == i + 1 for i in range(len(numbers) - 1)]
                expected.append(np.mean(right))
        np.testing.assert_allclose(table(result, "successor_heads", name, "successor_score"), expected)
        assert set(table(result, "successor_heads", name, "numbers")) == {len(numbers)}


def test_a_head_that_counts_scores_one_and_one_that_copies_scores_zero():
    counting, copying = torch.eye(10).roll(1, dims=1), torch.eye(10)
    halfway = torch.where(torch.arange(10)[:, None] < 3, counting, copying)
    np.testing.assert_allclose(successor_score(torch.stack([counting, copying, halfway])), [1, 0, 3 / 9])


def test_a_tokenizer_without_numbers_is_told_in_a_sentence():
    with pytest.raises(KdprobeError, match="needs 5 numbers from 0 on that are single tokens; this tokenizer has 0"):
        number_tokens(lambda _text, **_known: {"input_ids": [1, 2]}, 100)


def test_rollout_is_that_of_its_definition(host, context):
    """Position by position, from Hugging Face's patterns."""
    sequences = context.sequences
    assert all(sequence.numbers for sequence in sequences)
    measured = measure(context, head_metrics_of(host))["untrained"]["rollout_to_numbers"]
    model = context.students[0].load(dtype="float32", attention="eager").model
    for row, sequence in enumerate(sequences):
        with torch.inference_mode():
            patterns = model(torch.tensor([sequence.ids]), output_attentions=True).attentions
        length = len(sequence.ids)
        rollout = np.eye(length)
        for layer, pattern in enumerate(patterns):
            heads = pattern[0].double().numpy()
            for head, rows in enumerate(heads):
                held = [
                    sum(rows[q, k] * rollout[k, n] for k in range(length) for n in sequence.numbers)
                    for q in sequence.answer
                ]
                np.testing.assert_allclose(measured[row, layer, head], np.mean(held), rtol=1e-4)
            rollout = (heads.mean(axis=0) + np.eye(length)) / 2 @ rollout
            np.testing.assert_allclose(rollout.sum(axis=1), 1, rtol=1e-5)


def view(layer=0, numbers=(1,), holes=(), shared=None):
    pattern = torch.full((1, 2, 4, 4), 0.25).tril()
    pattern = pattern / pattern.sum(-1, keepdim=True)
    valid = torch.ones(1, 4, dtype=torch.bool)
    valid[0, list(holes)] = False
    pattern = pattern * valid[:, None, None]
    spans = {name: torch.zeros(1, 4, dtype=torch.bool) for name in ("numbers", "answer")}
    spans["numbers"][0, list(numbers)] = True
    spans["answer"][0, 3] = True
    return PatternView(pattern, None, None, valid, valid, spans, layer, shared={} if shared is None else shared)


def test_in_the_first_layer_rollout_is_attention():
    np.testing.assert_allclose(rollout_to_numbers(view()), [[0.25, 0.25]])


def test_rollout_without_numbers_is_missing():
    assert torch.isnan(rollout_to_numbers(view(numbers=()))).all()


def test_what_a_padded_query_holds_means_nothing():
    shared, other = {}, {}
    clean, dirty = view(holes=[0], shared=shared), view(holes=[0], shared=other)
    dirty.pattern[:, :, 0] = 7.0
    for layer in (0, 1):
        values = [rollout_to_numbers(replace(some_view, layer=layer)) for some_view in (clean, dirty)]
        np.testing.assert_allclose(values[0], values[1])


def test_rollout_needs_the_layers_in_order():
    with pytest.raises(ValueError, match="every layer in order, starting with the first"):
        rollout_to_numbers(view(layer=1))


@pytest.mark.parametrize(
    ("name", "wrong"), [("ov-copying", {"threshold": 1}), ("successor-heads", {"largest": 2}), ("ov-copying", {"k": 1})]
)
def test_options_are_checked(host, name, wrong):
    with pytest.raises(ValidationError):
        host.options("analyses", name, wrong)
