"""Maps of attention against Hugging Face's own patterns, and what is kept of them."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from kdprobe.errors import UsageError
from kdprobe.students.student import Student


@pytest.fixture(scope="module")
def look(torch, problems):
    from kdprobe.probing.analysis import AnalysisContext
    from kdprobe.probing.attention.maps import build
    from kdprobe.probing.options import AttentionOptions

    def run(*students, **options):
        context = AnalysisContext(students, problems[:2])
        return build(AttentionOptions(**options)).run(context), context.sequences

    return run


def own_patterns(torch, student, sequence):
    """`[layer, head, query, key]`, float64."""
    model = student.load(dtype="float32", attention="eager").model
    with torch.no_grad():
        layers = model(torch.tensor([sequence.ids]), output_attentions=True).attentions
    return np.stack([layer[0].double().numpy() for layer in layers])


def test_the_heads_that_vary_most_between_students_are_shown(torch, look, tiny_record, make_adapter):
    students = [
        Student("base", tiny_record),
        *(Student(f"s{seed}", tiny_record, make_adapter(tiny_record.path, seed)) for seed in (1, 2)),
    ]
    result, sequences = look(*students, problem=1)
    own = {student.name: own_patterns(torch, student, sequences[1]) for student in students}
    variance = np.stack(list(own.values())).var(axis=0).mean(axis=(-2, -1))
    order = np.argsort(-variance, axis=None)[:3]
    table = result.tables["attention"]
    shown = [tuple(map(int, head)) for head in table[["layer", "head"]].drop_duplicates().to_numpy()]
    assert shown == [divmod(int(index), variance.shape[1]) for index in order]
    for (name, layer, head), rows in table.groupby(["student", "layer", "head"]):
        expected = own[name][layer, head][rows["query"], rows["key"]]
        np.testing.assert_allclose(rows["weight"], expected, atol=1e-5)
    assert len(table) == 9 * len(sequences[1].ids) * (len(sequences[1].ids) + 1) // 2


def test_of_every_student_only_the_shown_heads_are_kept(look, monkeypatch, tiny_record):
    from kdprobe.probing.attention import maps

    growth, read = [], maps.read

    def traced(*arguments):
        before = tracemalloc.get_traced_memory()[0]
        shares = read(*arguments)
        growth.append(tracemalloc.get_traced_memory()[0] - before)
        return shares

    monkeypatch.setattr(maps, "read", traced)
    students = [Student(name, tiny_record) for name in "abcd"]
    tracemalloc.start()
    try:
        _, sequences = look(*students, heads=[(0, 0)])
    finally:
        tracemalloc.stop()
    one_head = 4 * len(sequences[0].ids) ** 2
    # Apart from small objects, a student adds one head's pattern; the model has eight heads.
    assert one_head <= np.median(growth) < 1.5 * one_head


def test_what_cannot_be_shown_is_refused(torch, look, tiny_record, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    from kdprobe.models.load import load_tokenizer
    from kdprobe.models.reference import resolve

    config = AutoConfig.from_pretrained(tiny_record.path, num_hidden_layers=3)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    load_tokenizer(tiny_record).save_pretrained(tmp_path / "model")
    base, deeper = Student("base", tiny_record), Student("deeper", resolve(str(tmp_path / "model")))
    with pytest.raises(UsageError, match="With a single student, the heads must be named"):
        look(base)
    with pytest.raises(UsageError, match="differ in their number of layers or heads, so the heads must be named"):
        look(base, deeper)
    with pytest.raises(UsageError, match="There is no layer 2, head 0: base has 2 layers"):
        look(deeper, base, heads=[(2, 0)])
    both, _ = look(base, replace(deeper, name="other"), heads=[(1, 0)])
    assert set(both.tables["attention"]["student"]) == {"base", "other"}


def test_maps_of_patterns_from_elsewhere():
    import kdprobe

    random = np.random.default_rng(0)
    patterns = {name: np.tril(random.random((3, 4, 6, 6))).astype(np.float32) for name in "ab"}
    patterns = {name: pattern / pattern.sum(axis=-1, keepdims=True) for name, pattern in patterns.items()}
    patterns["b"] = np.where(np.arange(3)[:, None, None, None] == 1, patterns["b"], patterns["a"])
    table = kdprobe.probe(patterns=patterns, analyses=["attention"], progress=False).table("attention")
    assert set(table["layer"]) == {1}, "the only one that differs"
    variance = np.stack([patterns["a"][1], patterns["b"][1]]).astype(float).var(axis=0).mean(axis=(-2, -1))
    assert list(dict.fromkeys(table["head"])) == np.argsort(-variance)[:3].tolist()
    for (name, head), rows in table.groupby(["student", "head"]):
        np.testing.assert_array_equal(rows["weight"], patterns[name][1, head][rows["query"], rows["key"]])
