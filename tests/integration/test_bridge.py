import numpy as np
import pytest

from kdprobe.probing.metrics import HEAD_METRICS


@pytest.fixture(scope="module")
def sequences(tiny_record, problems):
    from kdprobe.models.conversation import prompt_ids, response_ids
    from kdprobe.models.load import load_tokenizer
    from kdprobe.strategies.prompt_pair import bare

    tokenizer = load_tokenizer(tiny_record)
    return [[*prompt_ids(tokenizer, bare(p)), *response_ids(tokenizer, p.plain_solution)] for p in problems]


@pytest.fixture(scope="module")
def bridged(torch, tiny_record, sequences):
    from kdprobe.students.bridge import boot
    from kdprobe.students.student import Student

    return boot(Student("untrained", tiny_record), sequences[:3])


def measure(bridged, sequences, batch_size):
    from kdprobe.console import progress
    from kdprobe.probing.stream import head_metrics

    with progress("heads", len(sequences)) as bar:
        return head_metrics(bridged, sequences, HEAD_METRICS, batch_size=batch_size, bar=bar)


def by_hand(here, below):
    """The four metrics of one head's matrix, in float64."""
    rows = [-sum(w * np.log(w) for w in row if w > 0) for row in here]
    cosine = np.nan
    if below is not None:
        cosine = here.ravel() @ below.ravel() / np.linalg.norm(here) / np.linalg.norm(below)
    return {
        "entropy": np.mean(rows),
        "self_attention": np.trace(here) / len(here),
        "sparsity": np.count_nonzero(here > 0.1) / here.size,
        "similarity": cosine,
    }


@pytest.fixture(scope="module")
def references(torch, tiny_record, sequences):
    """From Hugging Face's own attentions, one sequence at a time, without padding."""
    from kdprobe.models.load import load

    model = load(tiny_record, attention="eager").model
    values = {name: np.full((len(sequences), 2, 4), np.nan) for name in HEAD_METRICS}
    for place, ids in enumerate(sequences):
        with torch.inference_mode():
            layers = model(torch.tensor([ids]), output_attentions=True).attentions
        patterns = [layer[0].double().numpy() for layer in layers]
        for layer in range(2):
            for head in range(4):
                below = patterns[layer - 1][head] if layer else None
                for name, value in by_hand(patterns[layer][head], below).items():
                    values[name][place, layer, head] = value
    return values


def test_self_check_passes_on_a_padded_batch(bridged, sequences):
    assert len({len(sequence) for sequence in sequences[:3]}) > 1
    assert 0 <= bridged.logit_error < 1e-4
    assert 0 <= bridged.pattern_error < 1e-4


@pytest.mark.parametrize("name", HEAD_METRICS)
def test_streamed_metrics_are_those_of_hugging_face(name, bridged, sequences, references):
    streamed = measure(bridged, sequences, batch_size=4)[name]
    np.testing.assert_allclose(streamed, references[name], atol=1e-5)
    # A reference that is the same for all heads would compare nothing.
    assert references[name][:, 1].std(axis=1).max() > 1e-4


def test_batch_size_changes_nothing(bridged, sequences):
    single, together = measure(bridged, sequences, 1), measure(bridged, sequences, len(sequences))
    for name in HEAD_METRICS:
        np.testing.assert_allclose(together[name], single[name], atol=1e-5, err_msg=name)


def test_self_check_refuses_a_disagreement(torch, tiny_record, sequences, monkeypatch):
    from kdprobe.errors import KdprobeError
    from kdprobe.students import bridge
    from kdprobe.students.student import Student

    monkeypatch.setattr(bridge, "TOLERANCE", -1.0)
    with pytest.raises(KdprobeError, match="TransformerLens and Hugging Face disagree on 'untrained'"):
        bridge.boot(Student("untrained", tiny_record), sequences[:2])
