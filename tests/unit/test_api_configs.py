"""Configs in Python: a dict is equivalent to its TOML."""

import datetime as dt
import tomllib
from pathlib import Path

import numpy as np

from kdprobe.api.given.configs import _plain, config_text
from kdprobe.experiment.load_config import with_missing


def test_values_of_python_become_those_of_a_file():
    given = {"a": Path("x"), "b": (1, np.float64(0.5)), "c": {"d": np.int64(3)}, "e": dt.date(2026, 1, 2), "f": True}
    plain = _plain(given, "config")
    assert plain == {"a": "x", "b": [1, 0.5], "c": {"d": 3}, "e": dt.date(2026, 1, 2), "f": True}
    assert [type(value) for value in (plain["b"][1], plain["c"]["d"], plain["f"])] == [float, int, bool]


def test_a_dict_as_text_is_read_back_as_itself_without_what_is_none():
    given = {"name": "x", "student": {"revision": None, "model": "m"}, "seeds": [0, 1]}
    assert tomllib.loads(config_text(given)) == {"name": "x", "student": {"model": "m"}, "seeds": [0, 1]}


def test_functions_that_a_config_does_not_name_are_added_to_it():
    functions = {"mine": print, "other": print}
    listed = ["none", {"name": "mine", "label": "ours"}]
    assert with_missing(listed, functions) == [*listed, "other"]
    assert with_missing([], functions) == ["mine", "other"]
    assert with_missing("none", functions) == "none"
