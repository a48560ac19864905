"""A few architectures through every analysis of heads; `make matrix` has all of them."""

import json

import pytest

from architecture_checks import ANALYSES, RECORDED


@pytest.mark.parametrize("analysis", ANALYSES)
@pytest.mark.parametrize("architecture", ["gpt2", "phi3", "deepseek_v3"])
def test_an_analysis_is_right_or_refused(architecture, analysis, check_architecture):
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert check_architecture(architecture, analysis) == recorded[architecture][analysis]
