"""Evaluated models can be loaded, exported with their accuracy on the card, and named as the baseline."""

import json
import shutil

import pytest

import kdprobe
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models.adapters import resolve_adapter


@pytest.fixture(scope="module")
def folder(tiny_model, make_adapter, tmp_path_factory):
    return shutil.copytree(make_adapter(tiny_model, 1), tmp_path_factory.mktemp("adapters") / "my-adapter")


@pytest.fixture(scope="module")
def evaluated(tiny_model, folder, problem_files, tmp_path_factory):
    return kdprobe.evaluate(
        str(tiny_model),
        adapters={"mine": folder},
        with_base=True,
        problems=problem_files[1],
        max_new_tokens=8,
        store=tmp_path_factory.mktemp("store"),
        progress=False,
    )


def test_an_evaluated_student_is_exported_with_its_score(evaluated, tiny_model, folder, problem_files, tmp_path):
    from huggingface_hub import ModelCard

    assert list(evaluated.students) == [tiny_model.name, "mine"]
    student = evaluated.students["mine"]
    exported = student.export(tmp_path / "out", dtype="float32", progress=False)
    assert exported.logit_error < 1e-4
    card = ModelCard.load(tmp_path / "out" / "README.md")
    score = next(row for row in evaluated.details if row.file.endswith(str(evaluated.files["mine"])))
    (result,) = card.data.eval_results
    assert (result.metric_value, result.dataset_name) == (score.accuracy, problem_files[1].name)
    assert f"It solved {score.correct} of {score.n} test problems from {problem_files[1].name}" in card.text
    assert "does not know how it was trained" in card.text
    assert "knowledge-distillation" not in card.data.tags
    provenance = json.loads((tmp_path / "out" / "kdprobe.json").read_text())
    assert provenance["adapter"] == {"folder": "my-adapter", "digest": resolve_adapter(str(folder)).digest}
    # Nothing in the folder names a folder of this machine.
    texts = [file.read_text() for file in (tmp_path / "out").iterdir() if file.suffix in {".json", ".md", ".jinja"}]
    assert not [text for text in texts if str(folder.parent) in text or str(tiny_model.parent) in text]
    with pytest.raises(UsageError, match=rf"no student 'nobody'\. Available students: {tiny_model.name}, mine"):
        evaluated.students["nobody"]


def test_base_names_the_model_without_an_adapter(evaluated, tiny_model, tmp_path):
    for baseline in ("base", tiny_model.name):
        (pair,) = kdprobe.compare(evaluated, baseline=baseline).comparison.pairs
        assert (pair.a, pair.b) == ("mine", tiny_model.name)
    with pytest.raises(UsageError, match="There is no arm 'base' to compare with"):
        kdprobe.compare(evaluated.files, baseline="base")
    named = {"base": evaluated.files["mine"], "other": evaluated.files[tiny_model.name]}
    (pair,) = kdprobe.compare(named, baseline="base").comparison.pairs
    assert (pair.a, pair.b) == ("other", "base")


def test_a_student_that_changed_since_it_was_evaluated_is_refused(tiny_model, make_adapter, problem_files, tmp_path):
    folder = shutil.copytree(make_adapter(tiny_model, 1), tmp_path / "adapter")
    evaluated = kdprobe.evaluate(
        str(tiny_model), adapters=[str(folder)], problems=problem_files[1], limit=1, max_new_tokens=2, store=tmp_path
    )
    shutil.copytree(make_adapter(tiny_model, 2), folder, dirs_exist_ok=True)
    with pytest.raises(KdprobeError, match=r"changed since the call to `kdprobe.evaluate`\. Repeat that call"):
        evaluated.students["adapter"].load()


def test_the_command_says_how_to_export_an_adapter_of_no_run(folder, tmp_path, capsys):
    from kdprobe.cli import _run

    assert _run(["export", str(folder), "--merged", str(tmp_path / "out")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "is an adapter, not RUN/ARM. To merge it into its base" in said
    assert "use Python: kdprobe.evaluate(" in said
