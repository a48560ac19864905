"""Model cards of students, as the Hub and peft read them."""

import json
import tomllib
from dataclasses import replace

import pytest

import kdprobe
from kdprobe.errors import UsageError
from kdprobe.models.public_names import described, hub_id, public_name
from kdprobe.models.reference import SMOLLM2, ModelRecord
from kdprobe.students.card import Card, Score


@pytest.fixture(scope="module")
def finished(tiny_model, tiny_config, tmp_path_factory):
    config = tomllib.loads(tiny_config(tiny_model, strategies='["none"]').read_text())
    return kdprobe.run(config, store=tmp_path_factory.mktemp("store"), progress=False)


def card_in(folder):
    from huggingface_hub import ModelCard

    return ModelCard.load(folder / "README.md")


def test_an_exported_adapter_has_a_card_with_its_score_and_its_run(finished, tiny_model, tmp_path):
    from peft import PeftConfig

    folder = finished.students["unprimed"].export_adapter(tmp_path / "out", progress=False)
    card = card_in(folder)
    row = finished.scores.set_index("name").loc["unprimed"]
    assert (card.data.library_name, card.data.pipeline_tag) == ("peft", "text-generation")
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", row["correct"] / row["n"])
    low, high = (f"{row[f'interval_{end}']:.4f}" for end in ("low", "high"))
    assert result.metric_name == f"Accuracy (95% CI {low} to {high}, n = {row['n']})"
    config = card.content.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(config)["name"] == finished.results.record["config"]["name"]
    # Nothing in the folder names a folder of this machine.
    for file in ("README.md", "adapter_config.json"):
        assert str(tiny_model.parent) not in (folder / file).read_text()
    assert PeftConfig.from_pretrained(folder).base_model_name_or_path == tiny_model.name


def test_a_merged_export_is_a_transformers_model(finished, tmp_path):
    finished.students["untrained"].export(tmp_path / "out", progress=False)
    card = card_in(tmp_path / "out")
    assert card.data.library_name == "transformers"
    assert "distiller" not in card.text
    assert card.data.eval_results[0].metric_value == finished.scores["correct"].iloc[0] / finished.scores["n"].iloc[0]


def test_the_adapter_in_the_store_has_a_card_without_a_score(finished, tiny_model):
    folder = finished.students["unprimed"].adapter
    card = card_in(folder)
    assert card.data.library_name == "peft"
    assert card.data.eval_results is None
    assert "kdprobe export RUN/ARM" in card.text
    assert str(tiny_model.parent) not in card.content + (folder / "adapter_config.json").read_text()


def test_the_untrained_student_has_no_adapter_and_folders_are_not_overwritten(finished, tmp_path):
    with pytest.raises(UsageError, match="has no adapter"):
        finished.students["untrained"].export_adapter(tmp_path / "out", progress=False)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        finished.students["unprimed"].export_adapter(tmp_path, progress=False)
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_the_command_writes_either_or_both(finished, run_cli, tmp_path):
    name = f"{finished.name}/unprimed"
    options = ("--adapter", tmp_path / "a", "--merged", tmp_path / "m", "--store", finished.store.root, "--json")
    written = json.loads(run_cli("export", name, *options))
    assert written["adapter"] == str(tmp_path / "a")
    assert written["folder"] == str(tmp_path / "m")
    assert (tmp_path / "a" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "m" / "model.safetensors").is_file()


def record(tmp_path, source, name="mine", **config):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return ModelRecord(name, source, folder, "0" * 64)


def test_a_base_is_called_by_its_id_on_the_hub_and_never_by_a_path(tmp_path):
    folder = record(tmp_path, "folder", str(tmp_path / "mine"), _name_or_path="Qwen/Qwen3-0.6B")
    assert hub_id(folder) == public_name(folder) == "Qwen/Qwen3-0.6B"
    (folder.path / "config.json").write_text(json.dumps({"_name_or_path": "/home/me/mine"}))
    assert hub_id(folder) is None
    assert public_name(folder) == "mine"
    assert str(tmp_path) not in described(folder)
    assert hub_id(replace(folder, source="hub", name="org/model")) == "org/model"
    assert hub_id(replace(folder, source="package", name=SMOLLM2)) == "HuggingFaceTB/SmolLM2-135M-Instruct"
    quantised = replace(folder, source="gguf", path=tmp_path / "m.gguf", quantisation="Q4_1")
    assert hub_id(quantised) is None
    assert "m.gguf" in described(quantised)
    assert "stored as Q4_1 and dequantised" in described(quantised)


def test_datasets_cautions_and_intervals_are_in_the_card(tmp_path):
    from huggingface_hub import ModelCard

    base = record(tmp_path, "hub", "org/base")
    score = Score("gsm8k", "openai/gsm8k", correct=3, n=12, low=0.0891, high=0.5323, extractor="robust")
    training = {"distiller": "`logits`", "prompt": "a | b\nc"}
    text = Card("run/arm", base, "peft", training, ["openai/gsm8k"], "Careful.", score, "run", 'name = "run"').text
    card = ModelCard(text)
    assert (card.data.base_model, card.data.datasets) == ("org/base", ["openai/gsm8k"])
    (result,) = card.data.eval_results
    assert (result.dataset_type, result.metric_value) == ("openai/gsm8k", 0.25)
    assert "**Careful.**" in text
    assert "solved 3 of 12 test problems of gsm8k (25.0%, 95% CI 8.9% to 53.2%)" in text
    assert "| prompt | a \\| b c |" in text
