import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdprobe.host.registry import Host
from kdprobe.probing.metrics.metric import head_metrics_of
from kdprobe.students.sequence import problem_sequences

METRICS = head_metrics_of(Host())
PUBLISHED = ("entropy", "self_attention", "sparsity", "similarity")


@pytest.fixture(scope="module")
def sequences(tiny_record, problems):
    from kdprobe.models.load import load_tokenizer

    return problem_sequences(load_tokenizer(tiny_record), problems)


@pytest.fixture(scope="module")
def bridged(torch, tiny_record, sequences):
    from kdprobe.students.bridge import boot
    from kdprobe.students.student import Student

    return boot(Student("untrained", tiny_record), [sequence.ids for sequence in sequences[:3]])


def measure(bridged, sequences, batch_size):
    from kdprobe.console import progress
    from kdprobe.probing.patterns.stream import head_metrics

    with progress("heads", len(sequences)) as bar:
        return head_metrics(bridged, sequences, METRICS, batch_size=batch_size, bar=bar)


def by_hand(here, below):
    """The published metrics of one head's matrix, in float64."""
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
    values = {name: np.full((len(sequences), 2, 4), np.nan) for name in PUBLISHED}
    for place, sequence in enumerate(sequences):
        with torch.inference_mode():
            layers = model(torch.tensor([sequence.ids]), output_attentions=True).attentions
        patterns = [layer[0].double().numpy() for layer in layers]
        for layer in range(2):
            for head in range(4):
                below = patterns[layer - 1][head] if layer else None
                for name, value in by_hand(patterns[layer][head], below).items():
                    values[name][place, layer, head] = value
    return values


def test_self_check_passes_on_a_padded_batch(bridged, sequences):
    assert len({len(sequence.ids) for sequence in sequences[:3]}) > 1
    assert 0 <= bridged.logit_error < 1e-4
    assert 0 <= bridged.pattern_error < 1e-4


@pytest.mark.parametrize("name", PUBLISHED)
def test_streamed_metrics_are_those_of_hugging_face(name, bridged, sequences, references):
    streamed = measure(bridged, sequences, batch_size=4)[name]
    np.testing.assert_allclose(streamed, references[name], atol=1e-5)
    # A reference that is the same for all heads would compare nothing.
    assert references[name][:, 1].std(axis=1).max() > 1e-4


@given(
    lengths=st.lists(st.integers(5, 200), min_size=2, max_size=6),
    batch_size=st.integers(1, 6),
    padding=st.sampled_from(["left", "right"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_padding_batch_size_and_order_change_no_metric(lengths, batch_size, padding, seed, bridged, check_padding):
    check_padding(bridged, lengths, batch_size, padding, seed)


def test_where_the_question_its_numbers_and_the_value_are(sequences, problems, tiny_record):
    from kdprobe.models.load import load_tokenizer

    tokenizer = load_tokenizer(tiny_record)
    for sequence, problem in zip(sequences, problems, strict=True):

        def text(places, sequence=sequence):
            return tokenizer.decode([sequence.ids[place] for place in places])

        apples, more = 3 + int(problem.id[1:]), 2 + int(problem.id[1:]) % 5
        assert text(sequence.question) == problem.question
        assert [int(text([place])) for place in sequence.numbers] or len(sequence.numbers) >= 2
        assert text(sequence.numbers).replace(" ", "") == f"{apples}{more}"
        assert text(sequence.answer) == f"{problem.plain_solution}{tokenizer.eos_token}"
        assert text(sequence.value).strip() == problem.value
        # The value where the reasoning works it out, not after the mark.
        assert "####" not in text(range(sequence.value[0]))[-6:]
        assert sequence.answer[0] == sequence.begin


def test_self_check_refuses_a_disagreement(torch, tiny_record, sequences, monkeypatch):
    from kdprobe.errors import KdprobeError
    from kdprobe.students import bridge
    from kdprobe.students.student import Student

    monkeypatch.setattr(bridge, "TOLERANCE", -1.0)
    with pytest.raises(KdprobeError, match="TransformerLens and Hugging Face disagree on 'untrained'"):
        bridge.boot(Student("untrained", tiny_record), [sequence.ids for sequence in sequences[:2]])
