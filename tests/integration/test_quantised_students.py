"""Students whose base stays quantised, with the adapter beside it, against weights decoded and merged by hand."""

import json

import numpy as np
import pytest

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models.reference import resolve
from kdprobe.students.student import Student

IDS = [[3, 17, 90, 45, 8, 120, 33, 61], [71, 5, 200, 9]]
CASES = [
    ("llama", "nf4", False),
    ("llama", "nf4-double", False),
    ("llama", "int8", False),
    ("llama", "nf4", True),
    ("qwen2", "int8", True),
    ("qwen2", "nf4", False),
    ("gpt2", "nf4", True),
    ("gpt2", "int8", False),
    ("gemma2", "nf4", True),
]
LONG = "Answer briefly. " * 60
"""A system message long enough for the common beginning of prompts to be read once."""


def logits(torch, model, ids=IDS[0]):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0]


@pytest.fixture
def problem_file(tmp_path, problem_rows):
    file = tmp_path / "test.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in problem_rows(20, 6)), encoding="utf-8")
    return file


@pytest.mark.parametrize(("architecture", "kind", "on_load"), CASES)
def test_logits_are_those_of_the_weights_that_the_bits_stand_for_plus_the_update(
    architecture, kind, on_load, packed_of, lora_of, torch
):
    from kdprobe.models.shared_bases import SharedBases
    from packing import merged_by_hand

    packed, plain = packed_of(architecture, kind, on_load=on_load)
    adapter, bases = lora_of(architecture), SharedBases()
    merged = merged_by_hand(plain.path, adapter)
    untrained = bases.student(packed, None, dtype="float32")
    expected = logits(torch, type(merged).from_pretrained(plain.path))
    assert (expected - logits(torch, merged)).abs().max() > 0.1
    for _ in range(2):  # Several students share the weights of one base.
        student = bases.student(packed, adapter, dtype="float32")
        assert type(student.model) is type(merged)
        for ids in IDS:
            torch.testing.assert_close(
                logits(torch, student.model, ids), logits(torch, merged, ids), atol=2e-4, rtol=1e-4
            )
        torch.testing.assert_close(logits(torch, untrained.model), expected, atol=2e-4, rtol=1e-4)
    # Outside the pool too.
    alone = Student("taught", packed, adapter).load(dtype="float32")
    torch.testing.assert_close(logits(torch, alone.model), logits(torch, merged), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_answers_and_likelihoods_are_those_of_the_merged_weights(
    kind, packed_of, lora_of, problem_file, tmp_path, torch, monkeypatch
):
    from transformers import AutoTokenizer

    import kdprobe
    from kdprobe.models.forward import prefix
    from packing import merged_by_hand

    packed, plain = packed_of("llama", kind)
    adapter = lora_of()
    merged_by_hand(plain.path, adapter).save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(plain.path).save_pretrained(tmp_path / "merged")
    given = {"problems": problem_file, "max_new_tokens": 12, "batch_size": 4, "system": LONG, "progress": False}
    read, whole = [], prefix.read_prefix
    monkeypatch.setattr(prefix, "read_prefix", lambda *known: read.append(whole(*known)) or read[-1])
    found = kdprobe.evaluate(str(packed.path), adapters={"taught": adapter}, store=tmp_path / "a", **given)
    assert read
    assert None not in read
    expected = kdprobe.evaluate(str(tmp_path / "merged"), store=tmp_path / "b", **given)
    (ours,), (theirs,) = (result.records.values() for result in (found, expected))
    assert ours["response"].tolist() == theirs["response"].tolist()
    for column in ("log_p_gold_value", "log_p_gold_solution"):
        np.testing.assert_allclose(ours[column], theirs[column], atol=1e-3)
    # What the records say of it, and the one line for people.
    assert ours["conditions"][0]["decoding"]["weights"] == "quantised (bitsandbytes), adapters not merged"
    assert "weights" not in theirs["conditions"][0]["decoding"]
    assert found.engine.endswith("float32, quantised (bitsandbytes), adapters not merged")


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_passage_is_scored_alike_alone_and_among_others(kind, packed_of, lora_of):
    """Layers of LLM.int8() decide by the whole batch which inputs they round."""
    from kdprobe.evaluation.engines.builtin import TransformersStudent
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.teachers.teacher import Passage

    passages = [Passage(str(place), ids[:2], ids[2:]) for place, ids in enumerate(IDS)]
    student = TransformersStudent(SharedBases().student(packed_of("llama", kind)[0], lora_of(), dtype="float32"))
    together = student.score(passages)
    for passage, scored in zip(passages, together, strict=True):
        np.testing.assert_allclose(student.score([passage])[0].log_p, scored.log_p, atol=1e-5)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_bits_do_not_depend_on_the_data_type_in_which_a_stage_computes(kind, packed_of, torch):
    from kdprobe.models.load import load

    record = packed_of("qwen2", kind, on_load=True)[0]
    exact, rounded = (load(record, dtype=dtype).model for dtype in ("float32", "bfloat16"))
    assert (exact.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    packed = {name: weight for name, weight in exact.named_parameters() if not weight.is_floating_point()}
    assert len(packed) == 14
    for name, weight in packed.items():
        assert torch.equal(weight.data, rounded.get_parameter(name).data)
    difference = (logits(torch, rounded).float() - logits(torch, exact)).std() / logits(torch, exact).std()
    assert 1e-4 < difference < 0.05


def test_only_adapters_that_add_to_outputs_lie_beside_quantised_weights(packed_of, lora_of, make_adapter, tmp_path):
    from kdprobe.models.load import load
    from kdprobe.models.merging.merge import merge
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.students.export import export

    packed, plain = packed_of()
    whole = make_adapter(plain.path, 0, modules_to_save=["lm_head"])
    with pytest.raises(UsageError, match=r"replaces weights of its base, but those of '.*nf4' are quantised"):
        SharedBases().student(packed, whole)
    with pytest.raises(UsageError, match=r"cannot be merged into the model '.*nf4': the model's weights are quantised"):
        merge(load(packed), lora_of())
    with pytest.raises(UsageError, match=r"The base of 'taught' is quantised .*\n?.*Write only the adapter"):
        export(Student("taught", packed, lora_of()), tmp_path / "out")


def test_weights_are_quantised_once(packed_of, tiny_model):
    packed, _ = packed_of()
    with pytest.raises(UsageError, match=r"quantised already \(bitsandbytes\), so they cannot be quantised to int8"):
        resolve(str(packed.path), quantization="int8")
    with pytest.raises(UsageError, match="Unknown quantization 'fp5'"):
        resolve(str(tiny_model), quantization="fp5")


def test_models_whose_weights_are_not_in_linear_layers_are_refused(model_of):
    from kdprobe.models.load import load

    record = resolve(str(model_of("gpt_oss").path), quantization="nf4")
    with pytest.raises(KdprobeError, match=r"Only \d+% of the weights in the layers of '.*gpt_oss.*' can be quantised"):
        load(record)


def test_a_key_says_what_was_quantised_and_by_which_version(packed_of):
    from importlib.metadata import version

    stored, on_load = packed_of()[0], packed_of(on_load=True)[0]
    given = resolve(str(on_load.path))
    library = {"bitsandbytes": version("bitsandbytes")}
    assert given.as_key() == {"digest": given.digest}
    assert on_load.as_key() == {"digest": given.digest, "quantization": "nf4", **library}
    assert stored.as_key() == {"digest": stored.digest, **library}
    assert on_load.as_provenance()["quantisation"] == "nf4 on load"


def test_without_bitsandbytes_weights_are_not_quantised(tiny_model, monkeypatch):
    monkeypatch.setattr("kdprobe.models.reference.importable", lambda _: False)
    with pytest.raises(UsageError, match=r"needs the package bitsandbytes.*\n?.*kdprobe\[quantised\]"):
        resolve(str(tiny_model), quantization="nf4")


def test_4_bits_that_bitsandbytes_decodes_otherwise_than_they_were_encoded_are_refused(packed_of, monkeypatch):
    """As it does on some CPUs, where rows are not whole blocks."""
    from kdprobe.models.forward import four_bits
    from kdprobe.models.load import load

    record, decode = packed_of()[0], four_bits.dequantize_4bit
    monkeypatch.setattr(four_bits, "dequantize_4bit", lambda data, state: decode(data, state).roll(1, dims=0))
    with pytest.raises(
        KdprobeError, match=r"bitsandbytes misreads the 4-bit weights of '.*nf4': matrices of 64 x 64 in"
    ):
        load(record)


def test_a_plan_refuses_what_quantised_students_cannot_do(packed_of, tiny_model, tiny_config, tmp_path, monkeypatch):
    import tomllib

    import kdprobe
    from kdprobe.experiment.stages.engine import ChosenEngine

    config = tomllib.loads(tiny_config(tiny_model).read_text())
    config["student"] = {"model": str(packed_of(on_load=True)[0].path), "quantization": "nf4"}
    config["probe"]["analyses"] = ["heads", "ablation", "circuits"]
    monkeypatch.setattr(ChosenEngine, "_is_built_in", False)
    with pytest.raises(UsageError) as refused:
        kdprobe.plan(config, store=tmp_path, progress=False)
    assert "probe.analyses (ablation, circuits): the weights of the student" in str(refused.value)
    assert "are quantised (nf4 on load), and the engine 'transformers' cannot run students" in str(refused.value)


def test_copies_of_a_base_share_bits_and_scales(packed_of):
    from kdprobe.models.shared_bases import SharedBases

    bases, (record, _) = SharedBases(), packed_of()
    first, second = (bases.base(record).model.model.layers[0].mlp.up_proj for _ in range(2))
    assert first is not second
    assert first.weight is second.weight
    assert first.quant_state is second.quant_state is first.weight.quant_state
