"""Model cards of students, as the Hub and peft read them."""

import json
import shutil
import tomllib
from dataclasses import replace

import pytest

import kdprobe
from kdprobe.errors import UsageError
from kdprobe.models.merging.files import adapter_methods
from kdprobe.models.public_names import described, public_name, with_hub_id, without_paths
from kdprobe.models.reference import ModelRecord, resolve
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


def test_a_merged_export_is_a_transformers_model(finished, tiny_model, tmp_path):
    finished.students["untrained"].export(tmp_path / "out", progress=False)
    card = card_in(tmp_path / "out")
    assert card.data.library_name == "transformers"
    assert "distiller" not in card.text
    assert f"A copy of {described(resolve(str(tiny_model)))}, without any training." in card.text
    assert card.data.eval_results[0].metric_value == finished.scores["correct"].iloc[0] / finished.scores["n"].iloc[0]
    # Nothing in the folder names a folder of this machine.
    texts = [file.read_text() for file in (tmp_path / "out").iterdir() if file.suffix in {".json", ".md", ".jinja"}]
    assert len(texts) > 4
    assert not [text for text in texts if str(tiny_model.parent) in text or str(tmp_path.parent) in text]
    assert json.loads((tmp_path / "out" / "kdprobe.json").read_text())["base"]["name"] == tiny_model.name


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


def metadata(base):
    from huggingface_hub import ModelCard

    return ModelCard(Card("student", base, "peft", ["LoRA"], {}).text).data


def test_a_folder_is_not_called_by_the_model_its_config_names(tiny_model, tmp_path):
    """A fine-tuned model often names the model that it was trained from, which is not the base of its students."""
    folder = tmp_path / "mine"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_name_or_path": "Qwen/Qwen3-0.6B"}))
    base = resolve(str(folder))
    assert base.hub_id is None
    assert public_name(base) == "mine"
    assert described(base) == f"mine (a local folder; its id on the Hub is not known; SHA-256 {base.digest})"
    card = Card("student", base, "peft", ["LoRA"], {})
    assert f"for {described(base)}." in card.text
    assert metadata(base).base_model is None
    assert "Qwen" not in card.text


def test_the_user_can_state_the_id_of_a_local_model(tiny_record):
    base = with_hub_id(tiny_record, "org/tiny")
    assert public_name(base) == metadata(base).base_model == "org/tiny"
    assert described(base) == f"org/tiny (a local folder; SHA-256 {base.digest})"
    assert base.as_key() == tiny_record.as_key()
    assert with_hub_id(tiny_record, None).hub_id is None
    fetched = replace(tiny_record, source="hub", name="org/other", hub_id="org/other")
    assert with_hub_id(fetched, "org/other").hub_id == "org/other"
    with pytest.raises(UsageError, match=r"student\.hub_id is 'org/tiny', but .* is 'org/other'"):
        with_hub_id(fetched, "org/tiny")


def test_the_id_of_a_snapshot_in_the_hubs_cache_is_in_its_path(tiny_model, tmp_path):
    snapshots = tmp_path / "models--org--base-1.5" / "snapshots"
    shutil.copytree(tiny_model, snapshots / ("0a" * 20))
    assert resolve(str(snapshots / ("0a" * 20))).hub_id == "org/base-1.5"
    (tmp_path / "linked").symlink_to(snapshots / ("0a" * 20))
    assert resolve(str(tmp_path / "linked")).hub_id == "org/base-1.5"
    # Whatever else is in the cache is not what the Hub has.
    shutil.copytree(tiny_model, snapshots / "mine")
    assert resolve(str(snapshots / "mine")).hub_id is None
    (snapshots / ("0a" * 20) / "model.gguf").write_bytes(b"GGUF")
    assert resolve(str(snapshots / ("0a" * 20) / "model.gguf")).hub_id == "org/base-1.5"


def test_a_stated_id_is_in_every_card_of_a_run_and_in_its_adapters(tiny_model, tiny_config, tmp_path):
    from peft import PeftConfig

    config = tomllib.loads(tiny_config(tiny_model, strategies='["none"]').read_text())
    config["student"]["hub_id"] = "org/tiny"
    student = kdprobe.run(config, store=tmp_path / "store", progress=False).students["unprimed"]
    student.export(tmp_path / "merged", progress=False)
    for folder in (student.adapter, student.export_adapter(tmp_path / "adapter", progress=False)):
        assert card_in(folder).data.base_model == "org/tiny"
        assert PeftConfig.from_pretrained(folder).base_model_name_or_path == "org/tiny"
    assert card_in(tmp_path / "merged").data.base_model == "org/tiny"
    assert json.loads((tmp_path / "merged" / "kdprobe.json").read_text())["base"]["name"] == "org/tiny"


def test_files_are_called_by_their_names(tmp_path):
    base = ModelRecord("m.gguf", "gguf", tmp_path / "m.gguf", "0" * 64, quantisation="Q4_1")
    assert described(base) == (
        f"m.gguf (a local file; its id on the Hub is not known; SHA-256 {'0' * 64}, stored as Q4_1 and dequantised)"
    )


def test_settings_contain_no_local_paths(tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    given = {
        "a": [str(tmp_path / "models"), "~/x.json", "../y"],
        "b": "models/mine",
        "c": "org/model",
        "d": "a\0/b",
        "n": 3,
    }
    cut = {"a": ["models", "x.json", "y"], "b": "mine", "c": "org/model", "d": "a\0/b", "n": 3}
    assert without_paths(given) == cut


@pytest.mark.parametrize(
    ("kind", "options", "methods"),
    [
        ("LoraConfig", {}, ["LoRA"]),
        ("LoraConfig", {"use_dora": True}, ["DoRA"]),
        ("LoraConfig", {"use_rslora": True}, ["rsLoRA"]),
        ("LoraConfig", {"use_dora": True, "use_rslora": True}, ["DoRA", "rsLoRA"]),
        ("IA3Config", {"feedforward_modules": []}, ["IA3"]),
        ("LoHaConfig", {}, ["LoHa"]),
        ("VeraConfig", {}, ["VeRA"]),
        ("OFTConfig", {}, ["OFT"]),
    ],
)
def test_a_card_says_what_kind_of_adapter_it_is(kind, options, methods, tmp_path):
    import peft
    from huggingface_hub import ModelCard

    getattr(peft, kind)(target_modules=["q_proj"], **options).save_pretrained(tmp_path)
    found = adapter_methods(tmp_path)
    assert list(found) == methods
    base = ModelRecord("org/base", "hub", tmp_path, "0" * 40, hub_id="org/base")
    card = ModelCard(Card("student", base, "peft", found, {"seed": "0"}).text)
    assert f"An adapter ({', '.join(methods)}) for org/base (commit {'0' * 40})." in card.text
    assert card.data.tags == ["kdprobe", "knowledge-distillation", *map(str.lower, methods)]
    merged = Card("student", base, "transformers", found, {}).text
    assert f"An adapter ({', '.join(methods)}) merged into org/base" in merged


def test_a_run_says_what_kind_its_adapters_are(tiny_model, tiny_config, tmp_path):
    config = tomllib.loads(tiny_config(tiny_model, strategies='["none"]').read_text())
    config["distill"]["options"]["lora"] = {"dora": True}
    config["controls"]["untrained"] = False
    students = kdprobe.run(config, store=tmp_path / "store", progress=False).students
    exported = students["unprimed"].export_adapter(tmp_path / "dora", progress=False)
    for folder, method in (
        (exported, "DoRA"),
        (students["unprimed"].adapter, "DoRA"),
        (students["fine-tuned"].adapter, "LoRA"),
    ):
        assert f"An adapter ({method}) for {described(resolve(str(tiny_model)))}." in card_in(folder).text


def test_datasets_cautions_and_intervals_are_in_the_card(tmp_path):
    from huggingface_hub import ModelCard

    base = ModelRecord("org/base", "hub", tmp_path, "0" * 40, hub_id="org/base")
    score = Score("gsm8k", "openai/gsm8k", correct=3, n=12, low=0.0891, high=0.5323, extractor="robust")
    training = {"distiller": "`logits`", "prompt": "a | b\nc"}
    text = Card(
        "run/arm", base, "peft", ["LoRA"], training, ["openai/gsm8k"], "Careful.", score, "run", 'name = "run"'
    ).text
    card = ModelCard(text)
    assert (card.data.base_model, card.data.datasets) == ("org/base", ["openai/gsm8k"])
    (result,) = card.data.eval_results
    assert (result.dataset_type, result.metric_value) == ("openai/gsm8k", 0.25)
    assert "**Careful.**" in text
    assert "solved 3 of 12 test problems from gsm8k (25.0%, 95% CI 8.9% to 53.2%)" in text
    assert "| prompt | a \\| b c |" in text
