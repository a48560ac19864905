import json
import os
import subprocess
import sys

import pytest


def kdprobe(*arguments, cwd, **variables):
    return subprocess.run(
        [sys.executable, "-m", "kdprobe", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def model(tmp_path):
    """A folder that looks like a model until it is loaded."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    return folder


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "--json"], ["init"], ["tune", "--help"]])
def test_quick_commands_import_neither_torch_nor_transformers(arguments):
    program = (
        "import sys\nfrom kdprobe.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'lm_eval', 'transformer_lens', 'datasets', 'optuna', 'tomlkit'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_names_every_command(tmp_path):
    done = kdprobe("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("run", "plan", "init", "tune", "runs", "report", "plugins"))


def test_plugins_json_is_a_list_of_records(tmp_path):
    done = kdprobe("plugins", "--json", cwd=tmp_path)
    rows = json.loads(done.stdout)
    assert done.returncode == 0
    assert len(rows) >= 5
    for row in rows:
        assert {"name", "version", "source", "status", "provides"} <= set(row)
    strategies = next(row for row in rows if row["name"] == "builtin:strategies")
    assert strategies["provides"]["strategies"][:2] == ["none", "teacher"]


def test_plan_lists_missing_stages_and_keeps_only_what_it_found_out(tmp_path, tiny_model, tiny_config):
    done = kdprobe("plan", tiny_config(tiny_model), "--json", "--store", tmp_path / "store", cwd=tmp_path)
    plan = json.loads(done.stdout)
    assert done.returncode == 0
    assert plan["run"].startswith("tiny-")
    kinds = [stage["kind"] for stage in plan["stages"]]
    assert {kind: kinds.count(kind) for kind in kinds} == {"transfer": 2, "distill": 3, "evaluate": 4, "analyse": 1}
    assert {stage["status"] for stage in plan["stages"]} == {"missing"}
    assert plan["adapters"] == dict.fromkeys(["fine-tune", "logits"], "q_proj, k_proj, v_proj, o_proj")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["remembered"]


def check_told(done, code, words):
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_missing_and_empty_configs_are_told(tmp_path):
    check_told(kdprobe("plan", "nowhere.toml", cwd=tmp_path), 2, "Cannot read the config nowhere.toml")
    (tmp_path / "empty.toml").touch()
    check_told(kdprobe("plan", "empty.toml", cwd=tmp_path), 2, "empty.toml is empty")


def test_unknown_strategy_is_told(tmp_path, model, tiny_config):
    config = tiny_config(model, strategies='["none", "confidense"]')
    check_told(kdprobe("plan", config, cwd=tmp_path), 2, "Did you mean 'confidence'?")


def test_missing_model_is_told(tmp_path, tiny_config):
    config = tiny_config(tmp_path / "no-model-here")
    check_told(kdprobe("plan", config, cwd=tmp_path), 2, "There is no model")


def test_model_that_is_neither_here_nor_cached_is_told_offline(tmp_path, tiny_config):
    config = tiny_config("someone/no-such-model")
    done = kdprobe("plan", config, cwd=tmp_path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))
    check_told(done, 1, "could not be downloaded from the Hub")


def test_too_few_problems_are_told(tmp_path, model, tiny_config):
    check_told(kdprobe("plan", tiny_config(model, transfer=7), cwd=tmp_path), 1, "only 6 transfer problems, but 7")


def test_store_that_cannot_be_written_is_told(tmp_path, model, tiny_config):
    pytest.importorskip("kdprobe.report.page")
    (tmp_path / "file").touch()
    done = kdprobe("run", tiny_config(model), "--store", tmp_path / "file" / "store", cwd=tmp_path)
    check_told(done, 1, "Cannot write to the store")


def test_unknown_command_option_and_plugin_are_told(tmp_path):
    check_told(kdprobe("rum", cwd=tmp_path), 2, "No such command 'rum'")
    check_told(kdprobe("plan", "--fulll", cwd=tmp_path), 2, "--fulll")
    check_told(kdprobe("plugins", "nobody", cwd=tmp_path), 2, "no plugin named 'nobody'")


def test_init_leaves_an_existing_file_alone(tmp_path):
    (tmp_path / "mine.toml").write_text("precious")
    check_told(kdprobe("init", "mine.toml", cwd=tmp_path), 2, "already exists")
    assert (tmp_path / "mine.toml").read_text() == "precious"


def test_runs_of_an_empty_store_are_none(tmp_path):
    done = kdprobe("runs", "--json", "--store", tmp_path / "store", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
