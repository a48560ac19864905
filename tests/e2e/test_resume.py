"""A killed run finishes with the numbers of an undisturbed one."""

import pytest
from kill_and_resume import compare_disturbed

pytestmark = pytest.mark.e2e


def test_kills_change_nothing(tiny_model, tiny_config, tmp_path):
    assert compare_disturbed(tiny_config(tiny_model), kills=2, seed=0, folder=tmp_path) is None
