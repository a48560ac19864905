"""The method at full size is planned from shapes alone, and its rehearsal with models made for it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kdprobe

ROOT = Path(__file__).parents[2]
DATA = os.environ.get("KDPROBE_TEST_DATA")


@pytest.fixture
def planned(torch, tmp_path, monkeypatch):
    if not DATA:
        pytest.skip("needs GSM8K: set KDPROBE_TEST_DATA")
    pytest.importorskip("kdprobe_openai")
    monkeypatch.setenv("KDPROBE_GSM8K", str(Path(DATA) / "gsm8k"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "served.py").write_text("from kdprobe_openai import *\n", encoding="utf-8")

    def plan(example="llama-405b", **resources):
        config = tomllib.loads((ROOT / "examples" / f"{example}.toml").read_text(encoding="utf-8"))
        changed = {**config, "resources": config["resources"] | resources}
        return kdprobe.plan(changed, store=tmp_path / "store", plugins_dir=plugins)

    return plan


def test_the_whole_bill_is_printed(planned, capsys):
    from kdprobe.cli.show.plan import show_plan

    found = planned()
    assert len(found.stage_rows) == 4 + 15 + 16 + 1
    assert found.outlook.unknown == 0
    assert found.bill.misfits == ()
    costs = {row["kind"]: row["cost"] for row in found.stage_rows}
    assert costs["transfer"]["devices"] == "H100 x 16"
    # 812 GB of weights on 16 GPUs, and room for keys and values.
    assert 812e9 / 16 < costs["transfer"]["memory"] < 80e9
    assert costs["transfer"]["tokens_written"] == 2638 * 200
    # No faster than 16 GPUs read the weights once for each token of 64 answers at a time.
    assert costs["transfer"]["seconds"] > 2638 * 200 / 64 * 812e9 / (16 * 3.35e12)
    show_plan(found, None)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "H100 x 16" in shown


def test_half_as_many_gpus_hold_the_teacher_only_in_eight_bits(planned):
    (said,) = planned(devices={"all": "h100", "transfer": "h100 x 8"}).bill.misfits
    assert "8 H100s hold 640 GB: use 16 H100s, or use 8-bit weights (410 GB)" in said


def test_its_rehearsal_has_the_same_stages_with_small_models(planned):
    subprocess.run([sys.executable, ROOT / "examples" / "rehearsal_models.py"], check=True, capture_output=True)
    full, rehearsal = planned(), planned("rehearsal")
    names = [[(row["kind"], row["name"]) for row in each.stage_rows] for each in (full, rehearsal)]
    assert names[0] == names[1]
    assert rehearsal.bill.misfits == ()
