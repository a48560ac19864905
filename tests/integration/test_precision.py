"""Students in 16 bits: what they are checked against, how far rounding moves them, and what they cannot be used for."""

import json

import numpy as np
import pytest

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models.reference import resolve
from kdprobe.students.sequence import problem_sequences
from kdprobe.students.student import Student
from probes import probed

FAMILIES = ("llama", "qwen3", "gemma2", "phi3", "gpt2")
STORED = "bfloat16"


@pytest.fixture(scope="module")
def stored(torch, model_of, tmp_path_factory):
    """A random model of a family with weights that bfloat16 holds exactly, so that float32 is the same student."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    written = {}

    def make(family):
        if family not in written:
            folder = tmp_path_factory.mktemp("stored") / family
            given = model_of(family).path
            model = AutoModelForCausalLM.from_pretrained(given, dtype=torch.float32)
            with torch.no_grad():
                # Smaller than those of the random model, whose attention is as sharp as that of no trained model.
                for weight in model.parameters():
                    weight.mul_(0.5).copy_(weight.bfloat16().float())
            model.save_pretrained(folder)
            AutoTokenizer.from_pretrained(given).save_pretrained(folder)
            written[family] = resolve(str(folder))
        return written[family]

    return make


@pytest.fixture(scope="module")
def sequences(tiny_record, problems):
    from kdprobe.models.load import load_tokenizer

    return problem_sequences(load_tokenizer(tiny_record), problems)


def attentions(torch, record, dtype, ids):
    """From Hugging Face alone, `[layer, head, query, key]`, with rows divided by their sums."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        record.path, dtype=getattr(torch, dtype), attn_implementation="eager"
    ).eval()
    with torch.inference_mode():
        layers = model(torch.tensor([list(ids)]), output_attentions=True, use_cache=False).attentions
    patterns = torch.cat([layer.float() for layer in layers])
    return (patterns / patterns.sum(dim=-1, keepdim=True)).numpy()


def patterns_of(student, ids):
    from kdprobe.probing.patterns.stream import read

    layers = []
    read(student, [ids], lambda _row, _layer, pattern: layers.append(pattern.numpy().copy()))
    return np.stack(layers)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_in_16_bits_computes_in_float32_with_its_own_weights(torch, stored, sequences, family, dtype):
    from kdprobe.models.anatomy import anatomy
    from kdprobe.models.forward.float32 import computed_in_float32
    from kdprobe.models.load import load

    record, ids = stored(family), torch.tensor([sequences[0].ids])
    model = load(record, dtype=dtype).model
    exact = load(record, dtype="float32").model
    # What is stored may be too small for float16, and Gemma scales its embeddings by a constant that is rounded too.
    for own, rounded in zip(exact.state_dict().values(), model.state_dict().values(), strict=True):
        own.copy_(rounded)
    for own, rounded in zip(exact.buffers(), model.buffers(), strict=True):
        own.copy_(rounded)
    before = {name: (weight, weight.clone()) for name, weight in model.state_dict(keep_vars=True).items()}
    with torch.inference_mode():
        rounded = model(ids).logits
        with computed_in_float32(model):
            logits = model(ids).logits
        # A pass may end early.
        handle = anatomy(model).attentions[-1].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError), computed_in_float32(model):
            model(ids)
        handle.remove()
        torch.testing.assert_close(logits, exact(ids).logits, atol=1e-4, rtol=0)
        assert (logits - rounded).abs().max() > 1e-3
        assert torch.equal(model(ids).logits, rounded)
    after = model.state_dict(keep_vars=True)
    assert all(after[name] is weight and torch.equal(weight, copy) for name, (weight, copy) in before.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_patterns_and_what_rounding_moves_are_those_of_hugging_face(torch, stored, sequences, family):
    from kdprobe.students.bridges import Bridges

    record, read = stored(family), [sequence.ids for sequence in sequences[:2]]
    bridges = Bridges([Student("stored", record)], read, dtype=STORED)
    student = bridges.boot("stored")
    rounded, exact = ([attentions(torch, record, dtype, ids) for ids in read] for dtype in (STORED, "float32"))
    np.testing.assert_allclose(patterns_of(student, read[0]), rounded[0], atol=1e-6)
    # The implementations are compared in float32, in which they agree.
    assert max(student.logit_error, student.pattern_error) < 1e-4
    differences = [np.abs(first - second) for first, second in zip(rounded, exact, strict=True)]
    roundings = bridges.roundings["stored"]
    assert [rounding.layer for rounding in roundings] == [0, 1]
    for layer, rounding in enumerate(roundings):
        moved = np.mean([each[layer].sum(axis=-1).mean() / 2 for each in differences])
        largest = max(each[layer].max() for each in differences)
        # Gemma scales its embeddings by a constant that is rounded too.
        near = {"rel": 2e-2 if family == "gemma2" else 1e-3}
        assert (rounding.moved, rounding.largest) == (pytest.approx(moved, **near), pytest.approx(largest, **near))
        assert rounding.moved > 1e-4


def test_students_in_float32_have_no_rounding(tiny_record, sequences):
    from kdprobe.students.bridges import Bridges

    bridges = Bridges([Student("own", tiny_record)], [sequences[0].ids])
    bridges.boot("own")
    assert bridges.roundings == {}


def test_a_difference_smaller_than_rounding_between_implementations_is_found(stored, sequences, monkeypatch):
    """In bfloat16 it would be hidden."""
    from kdprobe.students import bridge
    from kdprobe.students.bridges import Bridges

    def wrong(twins, ids, mask, visit, prefix=None):
        right(twins, ids, mask, lambda layer, pattern: visit(layer, pattern * 1.001), prefix)

    right = bridge.in_transformer_lens
    monkeypatch.setattr(bridge, "in_transformer_lens", wrong)
    with pytest.raises(KdprobeError, match="TransformerLens and Hugging Face disagree"):
        Bridges([Student("stored", stored("llama"))], [sequences[0].ids], dtype=STORED).boot("stored")


def test_a_student_whose_attention_rounding_changes_too_much_is_refused(stored, sequences, monkeypatch):
    from kdprobe.students import rounding
    from kdprobe.students.bridges import Bridges

    monkeypatch.setitem(rounding.ALLOWED, "bfloat16", 1e-5)
    with pytest.raises(
        KdprobeError, match=r"In bfloat16, rounding moves \S+% of the attention in layer \d+ of 'stored'"
    ):
        Bridges([Student("stored", stored("llama"))], [sequences[0].ids], dtype=STORED).boot("stored")


@pytest.fixture(scope="module")
def problem_file(tmp_path_factory, problem_rows):
    file = tmp_path_factory.mktemp("problems") / "test.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in problem_rows(20, 8)), encoding="utf-8")
    return file


def test_a_planted_change_is_found_in_16_bits_and_one_below_rounding_is_not(stored, make_adapter, problem_file):
    record = stored("llama")
    adapters = {
        "large": make_adapter(record.path, 1, size=0.3),
        "none": make_adapter(record.path, 2, size=1e-4),
    }
    options = {name: {"smallest_effect": 1e-9} for name in ("heads", "divergence")}
    options["heads"]["control"] = 0
    rounded, exact = (
        probed(record, problem_file, ["heads", "divergence"], dtype=dtype, adapters=adapters, options=options)
        for dtype in (STORED, "float32")
    )
    assert (rounded.dtype, exact.dtype) == (STORED, "float32")
    for name in ("heads", "divergence"):
        large = [each for each in rounded.statements[name] if each.startswith("large")]
        assert "no head moved" not in large[0]
        # However small the effect of interest, and however significant the change.
        assert any(each.startswith("none") and "no head moved" in each for each in rounded.statements[name])
        assert any(each.startswith("none") and "in 8 of 8 heads" in each for each in rounded.statements[name])
        assert any(f"rounding to {STORED} alone could cause in any head" in each for each in rounded.statements[name])
        assert any(each.startswith(f"Students were run in {STORED}.") for each in rounded.statements[name])
        assert not any("rounding" in each for each in exact.statements[name])
        table = rounded.table("rounding", name)
        assert set(table["student"]) == {"llama", *adapters}
        assert set(table["dtype"]) == {STORED}
    # In float32 the smaller change is there, and can be told.
    assert len(exact.details["heads"].summary["moved"]["none"]) > 0
    values = {
        found.dtype: found.table("differences", "heads").query("student == 'large' and metric == 'entropy'")
        for found in (rounded, exact)
    }
    limit = values[STORED]["rounding"].iloc[0]
    assert np.abs(values[STORED]["value"].to_numpy() - values["float32"]["value"].to_numpy()).max() < limit
    assert "rounding" not in values["float32"]


def test_metrics_of_16_bits_differ_from_float32_by_what_is_stated(torch, stored, make_adapter, problem_file):
    record = stored("llama")
    adapters = {"large": make_adapter(record.path, 1, size=0.3)}
    found = [
        probed(
            record, problem_file, ["heads"], dtype=dtype, adapters=adapters, limit=2, options={"heads": {"control": 0}}
        )
        for dtype in (STORED, "float32")
    ]
    tables = [each.table("heads", "heads").set_index(["student", "metric", "layer", "head"])["value"] for each in found]
    apart = (tables[0] - tables[1]).abs().groupby(["student", "metric"]).max().unstack("student").sum(axis=1)
    stated = found[0].table("differences", "heads").groupby("metric")["rounding"].first()
    assert set(stated.index) == set(apart.index)
    np.testing.assert_allclose(stated.sort_index(), apart.sort_index(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("config", [{}, {"use_dora": True}])
def test_geometry_is_that_of_float32(stored, make_adapter, problem_file, config):
    record = stored("llama")
    adapters = {"taught": make_adapter(record.path, 3, **config)}
    rounded, exact = (
        probed(record, problem_file, ["geometry"], dtype=dtype, adapters=adapters).table("geometry")
        for dtype in (STORED, "float32")
    )
    assert (exact["change"] > 0).all()
    np.testing.assert_allclose(rounded["relative"], exact["relative"], rtol=1e-9)


@pytest.mark.parametrize("analysis", ["ablation", "patching", "circuits", "attribution", "output_divergence", "drift"])
def test_analyses_of_log_probabilities_need_float32(tiny_record, problem_file, analysis):
    with pytest.raises(UsageError, match=f"^{analysis} needs float32: rounding to float16 may change"):
        probed(tiny_record, problem_file, ["heads", analysis], dtype="float16")


def test_analyses_given_as_functions_read_what_was_chosen(stored, problem_file):
    read = []

    def mine(bridges, students):
        read.append(bridges.boot(students[0].name).take().model.dtype)
        return [{"student": students[0].name}]

    found = probed(stored("llama"), problem_file, [mine], dtype=STORED)
    assert str(read[0]) == f"torch.{STORED}"
    assert found.statements["mine"][-1].startswith(f"Students were run in {STORED}.")


def test_an_experiment_refuses_what_needs_float32_when_it_is_planned_and_keys_record_the_data_type(
    tiny_config, tiny_model
):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.registry import Host

    host = Host()

    def planned(extra):
        plan = make_plan(load_experiment(tiny_config(tiny_model, extra=extra), host), host)
        return {stage.name: stage.key for stage in plan.stages if stage.kind == "analyse"}

    default, chosen = planned(""), planned('dtype = "float32"')
    assert default == chosen
    assert planned('dtype = "bfloat16"') != default
    with pytest.raises(UsageError, match="ablation needs float32"):
        planned('dtype = "bfloat16"\nanalyses = ["heads", "ablation"]')


def test_the_command_records_the_data_type(run_cli, stored, problem_file):
    found = json.loads(
        run_cli("probe", stored("llama").path, "--problems", problem_file, "--dtype", "bfloat16", "--json")
    )
    assert found["dtype"] == "bfloat16"
    assert found["analyses"]["heads"]["statements"][-1].startswith("Students were run in bfloat16.")
