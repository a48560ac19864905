"""Analyses of students whose base is quantised to 4 bits; what would need other weights is refused."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from kdprobe.errors import KdprobeError
from kdprobe.models.reference import resolve
from kdprobe.students.student import Student
from packing import write_plain
from probes import probed


@pytest.fixture(scope="module")
def problem_file(tmp_path_factory, problem_rows):
    file = tmp_path_factory.mktemp("problems") / "test.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in problem_rows(20, 6)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def packed(torch, tiny_model, tmp_path_factory):
    """A random model in NF4, and a plain model with exactly the weights that these 4 bits stand for."""
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    from kdprobe.testing.models import TINY_LLAMA, random_llama

    folder, tokenizer = tmp_path_factory.mktemp("packed"), AutoTokenizer.from_pretrained(tiny_model)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.15, "vocab_size": len(tokenizer)}
    random_llama(**TINY_LLAMA | sizes, eos_token_id=tokenizer.eos_token_id).save_pretrained(folder / "given")
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    model = AutoModelForCausalLM.from_pretrained(folder / "given", quantization_config=settings, dtype=torch.float32)
    model.save_pretrained(folder / "four")
    tokenizer.save_pretrained(folder / "given")
    tokenizer.save_pretrained(folder / "four")
    write_plain(folder / "given", folder / "four", folder / "plain")
    return resolve(str(folder / "four")), resolve(str(folder / "plain"))


@pytest.fixture(scope="module")
def adapters(packed, make_adapter):
    return {"taught": make_adapter(packed[1].path, 1), "other": make_adapter(packed[1].path, 2)}


def test_analyses_of_attention_and_weights_are_those_of_the_weights_that_4_bits_stand_for(
    packed, adapters, problem_file
):
    analyses = ["heads", "divergence", "geometry"]
    found, expected = (probed(record, problem_file, analyses, adapters=adapters) for record in packed)
    for table, column in (("heads", "value"), ("jensen_shannon", "value"), ("geometry", "relative")):
        values, reference = (each.table(table)[column].to_numpy() for each in (found, expected))
        np.testing.assert_allclose(values, reference, atol=1e-4, rtol=1e-3)
    assert np.ptp(expected.table("geometry")["relative"]) > 0.01
    assert max(error for check in found.self_checks.values() for error in check.values()) < 1e-4
    moved = [each.summary["moved"] for each in (found.details["heads"], expected.details["heads"])]
    assert [[head["head"] for head in moved[0][name]] for name in adapters] == [
        [head["head"] for head in moved[1][name]] for name in adapters
    ]


@pytest.mark.parametrize("analysis", ["output_divergence", "logit_lens"])
def test_outputs_are_those_of_the_weights_that_4_bits_stand_for(packed, adapters, problem_file, analysis):
    found, expected = (probed(record, problem_file, [analysis], adapters=adapters) for record in packed)
    values, reference = (each.table(analysis)["value"].to_numpy() for each in (found, expected))
    np.testing.assert_allclose(values, reference, atol=1e-4, rtol=1e-3)
    assert np.ptp(reference) > 0.01


def test_rounding_is_measured_against_the_weights_that_4_bits_stand_for(packed, adapters, problem_file):
    found = probed(packed[0], problem_file, ["heads"], adapters=adapters, dtype="bfloat16")
    rounding = found.table("rounding")
    assert set(rounding["student"]) == {"four", *adapters}
    assert rounding["moved"].between(1e-4, 0.1).all()


@pytest.mark.parametrize(
    ("analysis", "sentence"),
    [
        ("ablation", "The weights of '(four|taught)' are quantised"),
        ("patching", "The weights of '(four|taught)' are quantised"),
        ("circuits", "The weights of '(four|taught)' are quantised"),
        ("attribution", "The weights of '(four|taught)' are quantised"),
    ],
)
def test_what_needs_other_weights_is_refused(packed, adapters, problem_file, analysis, sentence):
    with pytest.raises(KdprobeError, match=sentence):
        probed(packed[0], problem_file, [analysis], adapters={"taught": adapters["taught"]})


def test_refusals_load_no_weights(tiny_model, tmp_path):
    from kdprobe.probing.interventions.sweep import load_in_full
    from kdprobe.students.pool import StudentPool

    shutil.copytree(tiny_model, tmp_path / "four")
    config = json.loads((tmp_path / "four" / "config.json").read_text())
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "four" / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    base = resolve(str(tmp_path / "four"))
    assert base.is_packed
    with pytest.raises(KdprobeError, match=r"The weights of 'four' are quantised \(bitsandbytes\)"):
        load_in_full(StudentPool(), Student("four", base))


def test_weights_are_quantised_when_a_model_is_probed(packed, adapters, problem_file, tmp_path):
    given = resolve(str(packed[0].path.parent / "given"))
    analyses = {"analyses": ["geometry"], "adapters": adapters}
    found = probed(given, problem_file, **analyses, quantization="nf4", out=tmp_path)
    expected = probed(packed[1], problem_file, **analyses)
    values, reference = (each.table("geometry")["relative"].to_numpy() for each in (found, expected))
    np.testing.assert_allclose(values, reference, rtol=1e-3)
    assert "and their weights are quantised (nf4 on load)" in found.page.read_text(encoding="utf-8")


def test_bitsandbytes_fetches_no_code(tiny_model, tmp_path):
    """On CPUs with AVX512-BF16 it would, from the Hub, if the package kernels is there; PEFT imports it too."""
    pytest.importorskip("bitsandbytes")
    (tmp_path / "kernels.py").write_text("def get_kernel(*_, **__):\n    raise SystemExit('code was fetched')\n")
    code = (
        "import sys; from kdprobe.models.load import load; from kdprobe.models.reference import resolve; "
        "load(resolve(sys.argv[1])); import kernels, peft.tuners.lora.bnb; print('loaded')"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    finished = subprocess.run(
        [sys.executable, "-c", code, str(tiny_model)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert finished.stdout == "loaded\n", finished.stderr
    assert "kernels" not in finished.stderr
