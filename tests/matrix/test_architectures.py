"""Every architecture through every analysis of heads: it agrees with an independent computation, or is rejected."""

import json

import pytest

from architecture_checks import ANALYSES, RECORDED
from architectures import ARCHITECTURES

pytestmark = pytest.mark.matrix


@pytest.mark.parametrize("analysis", ANALYSES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_analysis_is_right_or_refused(architecture, analysis, check_architecture):
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert check_architecture(architecture, analysis) == recorded[architecture][analysis]
