"""Attention that sums to less than one: the rest goes to a learned sink, which is not a token."""

import numpy as np
import pytest

from kdprobe.errors import KdprobeError, UsageError


@pytest.fixture(scope="module")
def students(model_of, make_adapter):
    from kdprobe.students.student import Student

    record = model_of("gpt_oss")
    return [Student("base", record), Student("tuned", record, make_adapter(record.path, 0))]


@pytest.fixture(scope="module")
def look(problems):
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.metrics.metric import head_metrics_of

    def run(name, students, /, records=None, **options):
        host = Host()
        context = AnalysisContext(
            students=students,
            problems=problems[:3],
            batch_size=2,
            records=records or {},
            head_metrics=head_metrics_of(host),
        )
        return run_analysis(name, host.create("analyses", name, options), context), context.sequences

    return run


def patterns(student, sequence):
    """Hugging Face's own, `[layer, head, query, key]`, float64."""
    import torch

    model = student.load(dtype="float32", attention="eager").model
    with torch.no_grad():
        return np.stack(
            [
                layer[0].double().numpy()
                for layer in model(torch.tensor([sequence.ids]), output_attentions=True).attentions
            ]
        )


def entropy(weights):
    return -np.where(weights > 0, weights * np.log(np.maximum(weights, 1e-300)), 0).sum(axis=-1)


def test_metrics_are_of_real_keys_and_the_sink_is_its_own(look, students):
    result, sequences = look("heads", students)
    table = result.tables["heads_by_problem"]
    for student in students:
        for sequence in sequences:
            weights = patterns(student, sequence)
            totals = weights.sum(axis=-1)
            assert totals.min() < 0.5, "the sink must matter"
            expected = {
                "learned_sink": (1 - totals).mean(axis=-1),
                "entropy": entropy(weights / totals[..., None]).mean(axis=-1),
                "self_attention": (weights.diagonal(axis1=-2, axis2=-1) / totals).mean(axis=-1),
                "sink": (weights[..., 1:, 0] / totals[..., 1:]).mean(axis=-1),
            }
            rows = table[(table["student"] == student.name) & (table["problem"] == sequence.id)]
            for metric, values in expected.items():
                found = rows[rows["metric"] == metric].sort_values(["layer", "head"])["value"]
                np.testing.assert_allclose(found, values.ravel(), atol=1e-5, err_msg=metric)
    kept = result.tables["strongest_keys"].set_index(["student", "layer", "head", "query"])
    weights = patterns(students[0], sequences[0])
    divided = np.sort(weights / weights.sum(axis=-1, keepdims=True), axis=-1)
    found = kept.loc["base", "weight_1"].sort_index().to_numpy().reshape(divided.shape[:3])
    np.testing.assert_allclose(found, divided[..., -1], atol=1e-5)
    shares = table[(table["metric"] == "learned_sink") & (table["student"] == "base")]["value"]
    assert any(f"base: {shares.mean():.1%} of the attention goes to learned sinks" in s for s in result.statements)


def test_divergence_is_that_of_the_attention_on_real_keys(look, students):
    result, sequences = look("divergence", students)
    found = np.zeros((2, 4))
    for sequence in sequences:
        p, q = (weights / weights.sum(axis=-1, keepdims=True) for weights in (patterns(s, sequence) for s in students))
        rows = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
        found += rows.mean(axis=-1) / len(sequences)
    rows = result.tables["jensen_shannon"]
    np.testing.assert_allclose(rows.sort_values(["layer", "head"])["value"], found.ravel(), atol=1e-6)
    assert found.min() > 1e-3
    share = np.mean([(1 - patterns(students[0], sequence).sum(axis=-1)).mean() for sequence in sequences])
    said = f"base: {share:.1%} of the attention goes to learned sinks, which are not tokens; variances and divergences "
    assert f"{said}compare the rest, normalised to sum to one for every query." in result.statements


def test_maps_and_associations_say_that_they_are_of_the_rest(look, students, problems):
    result, sequences = look("attention", students, heads=[[0, 1]])
    share = (1 - patterns(students[1], sequences[0]).sum(axis=-1)).mean()
    said = f"tuned: {share:.1%} of the attention goes to learned sinks, which are not tokens; the maps show the rest"
    assert any(statement.startswith(said) for statement in result.statements)
    records = {
        student.name: [{"id": problem.id, "correct": index == 0} for index, problem in enumerate(problems[:3])]
        for student in students
    }
    linked, _ = look("association", students, records=records, strata=1)
    assert any("entropy describes the rest" in statement for statement in linked.statements)
    sinks, _ = look("association", students, records=records, strata=1, metric="learned_sink")
    assert not any("the rest" in statement for statement in sinks.statements)


def test_ablation_says_that_changes_in_attention_are_of_the_rest(look, students):
    result, sequences = look("ablation", students, exact=1, random_sets=0)
    share = np.mean([(1 - patterns(students[0], sequence).sum(axis=-1)).mean() for sequence in sequences])
    assert (
        f"base: {share:.1%} of the attention goes to learned sinks, which are not tokens; changes in attention compare "
        "the rest, normalised to sum to one for every query."
    ) in result.statements
    # Without a second student, no attention is compared.
    alone, _ = look("ablation", students[:1], exact=1, random_sets=0)
    assert not any("sinks" in statement for statement in alone.statements)


def test_where_nobody_has_a_sink_no_table_speaks_of_one(look, tiny_record):
    from kdprobe.students.student import Student

    result, _ = look("heads", [Student("base", tiny_record)])
    assert "learned_sink" not in set(result.tables["heads"]["metric"])
    assert not any("sink" in statement for statement in result.statements)
    with pytest.raises(UsageError, match="None of these models has anything for 'learned_sink' to measure"):
        look("heads", [Student("base", tiny_record)], metric="learned_sink")


def test_what_transformer_lens_fails_on_is_said_in_a_sentence(look, model_of):
    from kdprobe.students.student import Student

    grouped = model_of("falcon", new_decoder_architecture=True, num_kv_heads=2)
    with pytest.raises(KdprobeError, match=r"TransformerLens fails on the architecture of .* \(falcon\)"):
        look("heads", [Student("base", grouped)])
