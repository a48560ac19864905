"""A killed run finishes with the numbers of an undisturbed one."""

import os

import pytest
from kill_and_resume import compare_disturbed

SEEDS = range(50 if os.environ.get("KDPROBE_ALL_FAULTS") else 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_change_nothing(seed, tiny_model, tiny_config, tmp_path):
    assert compare_disturbed(tiny_config(tiny_model), kills=4, seed=seed, folder=tmp_path) is None
