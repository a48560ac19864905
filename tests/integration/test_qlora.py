"""Training beside a base that stays quantised (QLoRA), against training on the weights that its bits stand for."""

import shutil

import numpy as np
import pytest

from kdprobe.errors import KdprobeError

SGD = {"optimiser": "sgd", "learning_rate": 0.05, "schedule": "constant", "warmup": 0, "max_grad_norm": 0, "epochs": 2}


def weights(trained):
    from safetensors.numpy import load_file

    return load_file(trained.adapter / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("name", "architecture", "kind", "on_load", "options"),
    [
        ("logits", "llama", "nf4", False, {}),
        ("logits", "llama", "int8", False, {"gradient_checkpointing": True}),
        ("fine-tune", "qwen2", "nf4", True, {"lora": {"target_modules": "all-linear"}}),
        ("fine-tune", "qwen2", "int8", True, {"lora": {"dora": True}}),
        ("logits", "llama", "nf4", False, {"lora": {"dora": True}, "validation": 0.4, "validation_steps": 1}),
        ("fine-tune", "gpt2", "nf4", True, {}),
        ("logits", "gemma2", "int8", True, {}),
    ],
)
def test_losses_and_gradients_are_those_of_the_weights_that_the_bits_stand_for(
    name, architecture, kind, on_load, options, packed_of, distil
):
    packed, plain = packed_of(architecture, kind, on_load=on_load)
    # Plain steps, because Adam divides by the size of a gradient, and so magnifies rounding.
    found, expected = (distil(name, student=student, **SGD, **options) for student in (packed, plain))
    assert expected.adapter_norm > 1e-3
    assert found.adapter_norm == pytest.approx(expected.adapter_norm, rel=1e-3)
    assert found.relative_change == pytest.approx(expected.relative_change, rel=1e-3)
    assert len(found.history) == len(expected.history) > 1
    for ours, theirs in zip(found.history, expected.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    ours, theirs = weights(found), weights(expected)
    assert ours.keys() == theirs.keys()
    for tensor in ours:
        np.testing.assert_allclose(ours[tensor], theirs[tensor], atol=1e-4 * np.abs(theirs[tensor]).max())


def test_a_gradient_passes_through_the_weights_of_the_forward_pass(packed_of, torch, tmp_path):
    """bitsandbytes would pass it through weights rounded to the data type that they had before."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kdprobe.models.load import load
    from kdprobe.models.reference import resolve
    from packing import write_packed, write_plain

    given, half = packed_of()[1].path, tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(given, dtype=torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(given).save_pretrained(half)
    packed = write_packed(half, tmp_path / "packed", "nf4", dtype=torch.bfloat16)
    plain = write_plain(half, packed, tmp_path / "plain")
    slopes = []
    for folder in (packed, plain):
        model = load(resolve(str(folder)), dtype="float32").model
        inputs = model.get_input_embeddings().weight[None, 5:13].detach().requires_grad_()
        model(inputs_embeds=inputs).logits.square().sum().backward()
        slopes.append(inputs.grad)
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-4 * float(slopes[1].abs().max()))


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_killed_training_goes_on_to_the_same_weights(kind, packed_of, distil, same_weights, tmp_path):
    options = {"student": packed_of("llama", kind)[0], "checkpoint_steps": 1, "epochs": 2, "lora": {"dropout": 0.3}}
    whole = distil("logits", scratch=tmp_path, **options)
    shutil.rmtree(tmp_path / "checkpoint-6")
    resumed = distil("logits", scratch=tmp_path, **options)
    assert same_weights(whole, resumed)
    assert resumed.history == whole.history


@pytest.mark.parametrize("on_load", [False, True])
def test_a_whole_run_with_a_quantised_student(on_load, packed_of, tiny_model, tiny_config, tmp_path, torch):
    import tomllib

    import kdprobe

    packed, _ = packed_of(on_load=on_load)
    config = tomllib.loads(tiny_config(tiny_model).read_text())
    config["student"] = {"model": str(packed.path), **({"quantization": "nf4"} if on_load else {})}
    if on_load:
        config["teacher"]["options"]["quantization"] = "int8"
    config["probe"]["analyses"] = ["heads", "geometry", "output_divergence", "logit_lens", "drift", "confidence"]
    plan = kdprobe.plan(config, store=tmp_path, progress=False)
    words = "nf4 on load" if on_load else "bitsandbytes"
    assumed = " ".join(plan.bill.assumptions)
    assert f"The weights of the student are quantised ({words}): those in the layers take 4" in assumed
    assert ("teacher are quantised (int8 on load): those in the layers take 8 bits" in assumed) == on_load
    run = kdprobe.run(config, store=tmp_path, progress=False)
    assert run.results.record["student"]["quantisation"] == words
    assert set(run.analyses.tables) == set(config["probe"]["analyses"])
    page = run.report().read_text(encoding="utf-8")
    assert f"quantised ({words}), adapters not merged" in page
    student = run.students["teacher"]
    assert words in (student.adapter / "README.md").read_text()
    loaded, untrained = student.load().model, run.students["untrained"].load().model
    ids = torch.tensor([[3, 17, 90, 45]])
    with torch.inference_mode():
        found, base = (model(input_ids=ids).logits for model in (loaded, untrained))
        bridged = student.to_transformer_lens()(ids)
    assert (found - base).abs().max() > 1e-3
    torch.testing.assert_close(bridged, found, atol=1e-4, rtol=1e-4)
    with pytest.raises(KdprobeError, match="Write only the adapter"):
        student.export(tmp_path / "whole")
    # Another way to the same answers.
    again = kdprobe.evaluate(
        str(packed.path),
        adapters={"it": student.adapter},
        quantization="nf4" if on_load else None,
        problems=[kdprobe.Problem(**row) for row in run.results.record["problems"]["test"]],
        max_new_tokens=8,
        batch_size=3,
        store=tmp_path / "other",
        progress=False,
    )
    assert again.records["it"]["response"].tolist() == run.answers["teacher"]["response"].tolist()
