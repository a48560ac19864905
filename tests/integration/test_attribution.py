"""Direct logit attribution in architectures that apply norms, multipliers or biases to what attention writes."""

import numpy as np
import pytest

from direct_logits import head_logits


@pytest.fixture(scope="module")
def look(problems):
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis

    def run(*students, **options):
        context = AnalysisContext(students=students, problems=problems[:2])
        return run_analysis("attribution", Host().create("analyses", "attribution", options), context), context

    return run


@pytest.mark.parametrize(
    "architecture", ["gemma2", "gemma3_text", "olmo2", "glm4", "granite", "cohere", "gpt2", "gpt_neox", "opt"]
)
def test_attribution_is_that_of_the_architecture_s_own_formulas(architecture, look, model_of):
    from transformers import AutoModelForCausalLM

    from kdprobe.students.student import Student

    record = model_of(architecture)
    result, context = look(Student("student", record))
    model = AutoModelForCausalLM.from_pretrained(record.path)
    table, biases = result.tables["attribution"], []
    for sequence in context.sequences:
        rows = list(range(sequence.begin - 1, len(sequence.ids) - 2))
        heads, bias = head_logits(model, list(sequence.ids), rows)
        biases.append(bias)
        found = table[(table["problem"] == sequence.id) & (table["metric"] == "logit_gold_solution")]
        np.testing.assert_allclose(found["value"], heads.mean(axis=1).ravel(), atol=2e-5)
        value = [token - sequence.begin for token in sequence.value]
        found = table[(table["problem"] == sequence.id) & (table["metric"] == "logit_gold_value")]
        np.testing.assert_allclose(found["value"], heads[:, value].mean(axis=1).ravel(), atol=2e-5)
    assert table["value"].abs().max() > 1e-3
    expected = np.mean([bias.mean(axis=1) for bias in biases], axis=0)
    assert ("attribution_biases" in result.tables) == bool(expected.any())
    if expected.any():
        found = result.tables["attribution_biases"].query("metric == 'logit_gold_solution'")["value"]
        np.testing.assert_allclose(found, expected, atol=2e-5)
        said = f"belong to no head, together contribute {expected.sum():+.2f} to these"
        assert any(said in sentence for sentence in result.statements)
    assert any("caps its logits" in sentence for sentence in result.statements) == (architecture == "gemma2")


def test_a_model_that_norms_the_stream_itself_is_refused(look, model_of):
    from kdprobe.errors import KdprobeError
    from kdprobe.students.student import Student

    with pytest.raises(KdprobeError, match=r"cannot attribute logits to heads in this architecture \(opt\)"):
        look(Student("student", model_of("opt", do_layer_norm_before=False)))
