"""Analyses that read too few problems for their intervals, whichever plugin provides them."""

from types import SimpleNamespace

import pytest

from kdprobe import AnalysisSpec, hookimpl
from kdprobe.probing.few_problems import few_problems
from kdprobe.testing import host_with


def plugin(*, samples_problems):
    @hookimpl
    def kdprobe_analyses():
        yield AnalysisSpec(name="mine", summary="Mine", build=lambda _options: None, samples_problems=samples_problems)

    return SimpleNamespace(__name__="mine", kdprobe_analyses=kdprobe_analyses)


@pytest.mark.parametrize(
    ("samples_problems", "problems", "few"), [(True, 5, True), (True, 6, False), (False, 2, False)]
)
def test_an_analysis_of_a_plugin_says_whether_problems_are_its_sample(samples_problems, problems, few):
    found = few_problems(host_with(plugin(samples_problems=samples_problems)), {"mine": {}}, problems)
    assert [finding.code for finding in found] == ["few-probed-problems"] * few
    assert all("mine (5 problems)" in finding.evidence for finding in found)
