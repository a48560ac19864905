"""Values in configs and options that no computation can use are rejected early, in a sentence that names the key."""

import copy
import tomllib

import pytest
import tomlkit

from kdprobe.cli import _run
from kdprobe.experiment.config import EMBEDDED

CONFIG = tomllib.loads(EMBEDDED.read_text(encoding="utf-8"))
HUGE = 10**30


def planned(tmp_path, capfd, data):
    file = tmp_path / "absurd.toml"
    file.write_text(data if isinstance(data, str) else tomlkit.dumps(data), encoding="utf-8")
    code = _run(["plan", str(file), "--store", str(tmp_path / "store")])
    out, err = capfd.readouterr()
    assert out == ""
    return code, err


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seeds", [-1], "seeds.0: input should be greater than or equal to 0"),
        ("seeds", [2**32], "seeds.0: input should be less than 4294967296"),
        ("seeds", [HUGE], "seeds.0: 1e+30 is too large"),
        ("resources.threads", HUGE, "resources.threads: 1e+30 is too large"),
        ("resources.threads", 100_000, "resources.threads: input should be less than or equal to 1024"),
        ("resources.gpus", 1.5, "resources.gpus: above 1, it must be a whole number"),
        ("resources.distill.gpus", 0, "resources.distill.gpus: input should be greater than 0"),
        ("resources.memory_gib", float("inf"), "resources.memory_gib: inf is not a finite number"),
        ("problems.test", HUGE, "problems.test: 1e+30 is too large"),
        ("problems.options.seed", HUGE, "problems.options.seed: 1e+30 is too large"),
        ("transfer.temperature", float("inf"), "transfer.temperature: inf is not a finite number"),
        ("transfer.temperature", float("nan"), "transfer.temperature: nan is not a finite number"),
        ("transfer.temperature", 1e-300, "transfer.temperature: must be 0 (greedy decoding) or"),
        ("evaluation.temperature", 1e-300, "evaluation.temperature: must be 0 (greedy decoding) or"),
        ("distill.options.temperature", 1e-300, "distill.options.temperature: input should be greater than or equal"),
        ("distill.options.learning_rate", float("inf"), "distill.options.learning_rate: inf is not a finite number"),
        ("teacher.options.batch_size", HUGE, "teacher.options.batch_size: 1e+30 is too large"),
    ],
)
def test_numbers_that_no_computation_can_take_are_mistakes(key, value, said, tmp_path, capfd):
    data = copy.deepcopy(CONFIG)
    section = data
    *sections, last = key.split(".")
    for name in sections:
        section = section.setdefault(name, {})
    section[last] = value
    code, err = planned(tmp_path, capfd, data)
    assert code == 2
    assert f"- {said}" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 20_000 + "]" * 20_000, "is nested too deeply"),
        ("seeds = [" + "9" * 6_000 + "]", "is not valid TOML: Exceeds the limit"),
    ],
)
def test_what_the_reader_of_toml_cannot_take_is_told(text, said, tmp_path, capfd):
    code, err = planned(tmp_path, capfd, text)
    assert code == 2
    assert said in err


def test_a_mistake_of_great_length_is_shortened(tmp_path, capfd):
    code, err = planned(tmp_path, capfd, {**CONFIG, "name": "x" * 100_000 + "/"})
    assert code == 2
    assert " ... " in err
    assert len(err) < 5_000


@pytest.mark.parametrize("value", ["1e999", "nan", "9" * 30])
def test_options_of_the_command_line_are_held_to_the_same(value, capfd):
    assert _run(["probe", "--patterns", "a.npz", "--option", f"heads.smallest_effect={value}"]) == 2
    assert "--option heads.smallest_effect: " in capfd.readouterr().err


@pytest.mark.parametrize("value", ["inf", "nan", "1e-300", "-1"])
def test_a_temperature_of_the_command_line_is_finite_and_not_too_cold(value, capfd):
    assert _run(["eval", "model", "--temperature", value]) == 2
    assert "must be 0 (greedy decoding) or at least 0.01" in capfd.readouterr().err
