"""Many students in TransformerLens on one loaded base."""

import copy

import numpy as np
import pytest

from kdprobe.models.reference import resolve
from kdprobe.students.sequence import problem_sequences
from kdprobe.students.student import Student


@pytest.fixture(scope="module")
def sequences(tiny_record, problems):
    from kdprobe.models.load import load_tokenizer

    return problem_sequences(load_tokenizer(tiny_record), problems)


@pytest.fixture(scope="module")
def students(tiny_model, tiny_record, make_adapter):
    return [
        Student("untrained", tiny_record),
        Student("first", tiny_record, make_adapter(tiny_model, 1)),
        Student("sec.ond@1", tiny_record, make_adapter(tiny_model, 2, use_dora=True)),
    ]


def pattern_of(bridged, ids, prefix=None):
    from kdprobe.probing.patterns.stream import read

    layers = []
    read(bridged, [ids], lambda _row, _layer, pattern: layers.append(pattern.numpy().copy()), prefix=prefix)
    return np.stack(layers)


def merged_pattern(torch, student, ids):
    """From Hugging Face alone, with the adapter merged."""
    model = student.load(dtype="float32", attention="eager").model
    with torch.inference_mode():
        attentions = model(torch.tensor([ids]), output_attentions=True).attentions
    return np.stack([layer[0].numpy() for layer in attentions])


def test_adapters_are_switched_on_one_base_and_agree_with_merged(torch, students, sequences, monkeypatch):
    from kdprobe.models import shared_bases
    from kdprobe.students import bridges

    loaded, load = [], shared_bases.load
    monkeypatch.setattr(shared_bases, "load", lambda *a, **k: loaded.append(1) or load(*a, **k))
    pool = bridges.Bridges(students, [sequence.ids for sequence in sequences[:2]])
    expected = {student.name: merged_pattern(torch, student, sequences[0].ids) for student in students}
    assert np.abs(expected["first"] - expected["untrained"]).max() > 0.05
    booted = {name: pool.boot(name) for name in expected}
    for name in ("untrained", "first", "sec.ond@1", "untrained", "sec.ond@1", "first"):
        np.testing.assert_allclose(pattern_of(booted[name], sequences[0].ids), expected[name], atol=1e-5)
    assert loaded == [1]
    assert set(pool.errors) == {student.name for student in students}
    assert max(error for check in pool.errors.values() for error in check.values()) < 1e-4


def test_bridges_that_are_held_are_each_their_own_students(torch, students, sequences):
    from transformer_lens.model_bridge import TransformerBridge

    from kdprobe.students.bridges import Bridges

    pool = Bridges(students, [sequence.ids for sequence in sequences[:2]])
    held = {student.name: pool.boot(student.name).bridge for student in students}
    methods = {name: bridge.run_with_cache for name, bridge in held.items()}
    ids = torch.tensor([sequences[0].ids])
    expected = {}
    with torch.inference_mode():
        for student in students:
            expected[student.name] = student.load(dtype="float32", attention="eager").model(ids).logits
        assert (expected["first"] - expected["untrained"]).abs().max() > 0.05
        for name in ("untrained", "first", "sec.ond@1", "first", "untrained"):
            torch.testing.assert_close(held[name](ids), expected[name], atol=1e-4, rtol=0)
        # Methods that were looked up while another student was in use.
        for name, run_with_cache in methods.items():
            torch.testing.assert_close(run_with_cache(ids)[0], expected[name], atol=1e-4, rtol=0)
    assert all(isinstance(bridge, TransformerBridge) for bridge in held.values())
    assert copy.copy(held["first"]).cfg is held["first"].cfg


@pytest.mark.parametrize(
    ("family", "source"),
    # GPT-Neo keeps its attention where nobody looks for it: its patterns are read in TransformerLens.
    [
        ("gpt2", "hugging_face"),
        ("qwen2", "hugging_face"),
        ("neox", "hugging_face"),
        ("mistral", "hugging_face"),
        ("neo", "transformer_lens"),
    ],
)
def test_other_architectures_agree_with_hugging_face(torch, family, source, other_families, sequences):
    from kdprobe.students.bridges import Bridges

    student = Student(family, resolve(str(other_families[family])))
    ids = [sequence.ids for sequence in sequences]
    bridged = Bridges([student], ids[:2]).boot(family)
    assert bridged.source.__name__ == f"in_{source}"
    expected = merged_pattern(torch, student, ids[1])
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(pattern_of(bridged, ids[1]), expected, atol=1e-5)
    prefix = bridged.prefix(ids)
    assert 1 < prefix.length < len(ids[1])
    np.testing.assert_allclose(pattern_of(bridged, ids[1], prefix), expected, atol=1e-5)


def test_a_prefix_is_read_once_and_changes_nothing(torch, students, sequences, monkeypatch):
    from kdprobe.probing.patterns import stream
    from kdprobe.students.bridges import Bridges

    ids = [sequence.ids for sequence in sequences]
    trained = Bridges(students, ids[:2]).boot("first")
    read = []
    model = trained.take().model
    handle = model.get_input_embeddings().register_forward_hook(lambda _module, given, _: read.append(given[0].shape))
    prefix = trained.prefix(ids)
    found = {}
    for name, begun in {"whole": None, "after": prefix}.items():
        layers = found[name] = []
        stream.forward(trained, ids[:3], lambda _, pattern, layers=layers: layers.append(pattern.clone()), prefix=begun)
    handle.remove()
    longest = max(map(len, ids[:3]))
    assert read == [(1, prefix.length), (3, longest), (3, longest - prefix.length)]
    rows = [(row, slice(len(one))) for row, one in enumerate(ids[:3])]
    for whole, after in zip(found["whole"], found["after"], strict=True):
        assert whole.shape == after.shape
        for row, real in rows:
            torch.testing.assert_close(after[row, :, real], whole[row, :, real], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("family", "targets"), [("gpt2", ["c_attn"]), ("qwen2", ["q_proj", "k_proj"])])
def test_an_adapter_that_cannot_lie_beside_the_weights_is_merged(
    torch, family, targets, other_families, sequences, make_adapter
):
    from kdprobe.students.bridges import Bridges

    folder = other_families[family]
    record = resolve(str(folder))
    extra = {"fan_in_fan_out": True} if family == "gpt2" else {}
    adapter = make_adapter(folder, 3, target_modules=targets, **extra)
    students = [Student("base", record), Student("trained", record, adapter)]
    pool = Bridges(students, [sequence.ids for sequence in sequences[:2]])
    for name in ("trained", "base", "trained"):
        student = pool.students[name]
        found = pattern_of(pool.boot(name), sequences[1].ids)
        np.testing.assert_allclose(found, merged_pattern(torch, student, sequences[1].ids), atol=1e-5)


def test_trained_biases_stay_with_their_student(torch, other_families, sequences, make_adapter):
    """peft writes them into the base, where they stay when the adapter is removed."""
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.students.bridges import Bridges

    folder = other_families["qwen2"]
    record = resolve(str(folder))
    biased, plain = make_adapter(folder, 5, bias="all"), make_adapter(folder, 6)
    students = [Student("base", record), Student("biased", record, biased), Student("plain", record, plain)]
    pool = Bridges(students, [sequence.ids for sequence in sequences[:2]])
    expected = {student.name: merged_pattern(torch, student, sequences[1].ids) for student in students}
    for name in ("biased", "base", "plain", "biased"):
        np.testing.assert_allclose(pattern_of(pool.boot(name), sequences[1].ids), expected[name], atol=1e-5)
    assert np.abs(expected["biased"] - expected["base"]).max() > 0.05
    bases = SharedBases()
    base = bases.base(record)
    before = {name: weight.clone() for name, weight in base.model.named_parameters()}
    bases.student(record, biased)
    assert all(torch.equal(weight, before[name]) for name, weight in base.model.named_parameters())


def test_no_prefix_where_it_is_read_otherwise_in_a_longer_sequence(torch, other_families, sequences):
    from kdprobe.students.bridges import Bridges

    student = Student("dynamic", resolve(str(other_families["dynamic"])))
    ids = [sequence.ids for sequence in sequences]
    bridged = Bridges([student], ids[:2]).boot("dynamic")
    assert bridged.prefix(ids) is None
    assert len(ids[1]) > 24
    np.testing.assert_allclose(pattern_of(bridged, ids[1]), merged_pattern(torch, student, ids[1]), atol=1e-5)


def test_an_interrupted_switch_leaves_nobody_s_weights_behind(torch, students, sequences, monkeypatch):
    from kdprobe.students import bridges

    pool = bridges.Bridges(students[:2], [sequence.ids for sequence in sequences[:2]])
    untrained, first = pool.boot("untrained"), pool.boot("first")
    expected = pattern_of(untrained, sequences[0].ids)
    switched = []

    def switch(model, student, really=bridges._switch):
        if switched:
            raise KeyboardInterrupt
        switched.append(model)
        really(model, student)

    with monkeypatch.context() as patched:
        patched.setattr(bridges, "_switch", switch)
        with pytest.raises(KeyboardInterrupt):
            first.take()
    np.testing.assert_array_equal(pattern_of(untrained, sequences[0].ids), expected)


def test_the_check_is_padded_for_long_sequences_too(students, sequences):
    from kdprobe.students.bridges import Bridges

    long = [list(range(5, 105)), list(range(7, 107))]
    assert len({len(ids) for ids in Bridges(students[:1], long)._check}) == len(long)


def test_a_student_that_disagrees_is_refused(students, sequences, monkeypatch):
    from kdprobe.errors import KdprobeError
    from kdprobe.students import bridge
    from kdprobe.students.bridges import Bridges

    monkeypatch.setattr(bridge, "TOLERANCE", -1.0)
    pool = Bridges(students[:2], [sequence.ids for sequence in sequences[:2]])
    for name in ("untrained", "first"):
        with pytest.raises(KdprobeError, match=f"TransformerLens and Hugging Face disagree on '{name}'"):
            pool.boot(name)


def test_an_adapter_of_another_model_is_told(other_families, tiny_record, make_adapter, sequences):
    from kdprobe.errors import UsageError
    from kdprobe.students.bridges import Bridges

    stranger = Student(
        "stranger", tiny_record, make_adapter(other_families["gpt2"], 4, target_modules=["c_attn"], fan_in_fan_out=True)
    )
    with pytest.raises(UsageError, match="does not fit the model"):
        Bridges([stranger], [sequences[0].ids]).boot("stranger")


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("persimmon", r"TransformerLens does not support the architecture of .*persimmon.* \(persimmon\)"),
        ("mamba", "'mamba' has 2 layers, but none of them has attention heads"),
    ],
)
def test_what_has_no_heads_to_look_at_is_told(family, said, other_families, sequences):
    from kdprobe.errors import KdprobeError
    from kdprobe.students.bridges import Bridges

    student = Student(family, resolve(str(other_families[family])))
    with pytest.raises(KdprobeError, match=said):
        Bridges([student], [sequence.ids for sequence in sequences[:2]]).boot(family)
