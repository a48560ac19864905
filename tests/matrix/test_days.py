"""Templates that use the date: the same keys and prompts on any day, and different ones for another `date`."""

import datetime as dt
import json

import pytest
from families import FAMILIES

DATED = "llama3_1"


@pytest.fixture
def on(monkeypatch):
    """Sets the clock of chat templates to a day."""
    from transformers.utils import chat_template_utils

    def set_day(year, month, day):
        class Day(dt.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls(year, month, day, 23, 59, tzinfo=tz)

        monkeypatch.setattr(chat_template_utils, "datetime", Day)

    return set_day


def planned(config):
    """The keys of a config's stages."""
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.registry import Host

    host = Host()
    return [stage.key for stage in make_plan(load_experiment(config, host), host).stages]


def test_keys_are_the_same_on_any_day_and_others_under_another_date(cell, on, tmp_path):
    finished = cell(DATED, "transformers")
    made = {path.name for path in (finished.store / "stages").glob("*/*")}
    for day in ((2026, 11, 24), (2026, 11, 25)):
        on(*day)
        keys = planned(finished.config)
        assert set(keys) == made
    text = finished.config.read_text()
    dated = finished.config.with_name("dated.toml")
    dated.write_text(text.replace("[conversation]", "[conversation]\ndate = 2026-11-25"))
    assert not set(planned(dated)) & made


def test_prompts_are_the_same_on_any_day_and_compare_reports_another_date(models, problem_files, on, run_cli, tmp_path):
    def evaluated(name, *told):
        command = ["eval", models(DATED), "--problems", problem_files[1], "--limit", 2, "--max-new-tokens", 3]
        command += ["--batch-size", 2, "--store", tmp_path / name, "--out", tmp_path / f"{name}.jsonl", "--json"]
        run_cli(*command, *told)
        return [json.loads(line)["prompt_hash"] for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]

    on(2026, 11, 24)
    first = evaluated("first")
    on(2026, 11, 25)
    assert evaluated("second") == first
    other = evaluated("other", "--date", "2026-11-25")
    assert not set(other) & set(first)

    def unequal(*names):
        found = json.loads(run_cli("compare", *(tmp_path / f"{name}.jsonl" for name in names), "--json"))["findings"]
        return [finding["evidence"] for finding in found if finding["code"] == "unequal-prompt"]

    assert unequal("first", "second") == []
    (evidence,) = unequal("first", "other")
    assert "26 Jul 2024" in evidence
    assert "25 Nov 2026" in evidence


def test_a_server_that_reads_its_own_clock_is_reported(cell):
    finished = cell(DATED, "served", {})
    (finding,) = [found for found in finished.results["findings"] if found["code"] == "server-prompt"]
    assert "unprimed 3 of 3" in finding["evidence"]
    assert FAMILIES[DATED].arguments == {}
