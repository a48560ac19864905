import json

import pytest

from kdprobe.errors import KdprobeError, UsageError


@pytest.fixture(scope="module", params=[False, True], ids=["lora", "dora"])
def student(request, tiny_model, tiny_record, make_adapter):
    """A student whose adapter has an effect."""
    from kdprobe.students.student import Student

    adapter = make_adapter(tiny_model, 0, target_modules="all-linear", use_dora=request.param)
    return Student("primed", tiny_record, adapter)


def test_exported_model_is_plain_and_gives_the_students_logits(student, torch, tmp_path):
    from transformers import AutoModelForCausalLM

    from kdprobe.students.export import export

    exported = export(student, tmp_path / "out")
    assert exported.logit_error < 1e-4
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.arange(3, 12)[None]
    with torch.inference_mode():
        ours = student.load(dtype="float32").model(input_ids=ids).logits
        np_error = (plain(input_ids=ids).logits - ours).abs().max()
    assert np_error < 1e-4
    assert not list((tmp_path / "out").glob("adapter*"))
    assert json.loads((tmp_path / "out" / "kdprobe.json").read_text())["student"] == "primed"


def test_an_export_that_fails_or_is_interrupted_leaves_nothing(student, tmp_path, monkeypatch):
    from kdprobe.students import export as module

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "resolve", interrupt)
    with pytest.raises(KeyboardInterrupt):
        module.export(student, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_weights_are_as_readable_as_other_files(student, tmp_path):
    from kdprobe.students.export import export

    export(student, tmp_path / "out")
    (tmp_path / "other").touch()
    mode = (tmp_path / "other").stat().st_mode
    assert {file.stat().st_mode for file in (tmp_path / "out").iterdir()} == {mode}


def test_half_precision_is_held_to_what_rounding_does_to_the_base(student, torch, tmp_path):
    from safetensors.torch import load_file

    from kdprobe.students.export import export

    exported = export(student, tmp_path / "out", dtype="bfloat16")
    assert 1e-3 < exported.allowed < 1
    assert exported.logit_error <= exported.allowed
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in written.values()} == {torch.bfloat16}


def test_export_overwrites_nothing(student, tmp_path):
    from kdprobe.students.export import export

    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="already exists and is not an empty folder"):
        export(student, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]


def test_a_written_model_that_is_not_the_student_is_removed(student, tiny_record, tmp_path, monkeypatch):
    from kdprobe.models.load import load
    from kdprobe.students import export as module

    # As if writing had lost the adapter.
    monkeypatch.setattr(module, "load", lambda _record, **known: load(tiny_record, **known))
    with pytest.raises(KdprobeError, match="so the merged model was removed"):
        module.export(student, tmp_path / "out")
    assert not (tmp_path / "out").exists()
