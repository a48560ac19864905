"""A real run is exported, imported into an empty store, reported, and run again there."""

import json

import pytest

from kdprobe.cli import main
from kdprobe.files import read_sealed, write_sealed
from pages import text_of


@pytest.fixture
def told(capsys):
    def tell(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        return said

    return tell


def test_a_run_says_the_same_elsewhere_and_nothing_is_made_again(tiny_model, tiny_config, told, tmp_path):
    config, here, there = tiny_config(tiny_model), tmp_path / "here", tmp_path / "there"
    ran = json.loads(told("run", config, "--store", here, "--json").out)
    exported = json.loads(told("store", "export", "tiny", tmp_path / "run.tar", "--store", here, "--json").out)
    imported = json.loads(told("store", "import", tmp_path / "run.tar", "--store", there, "--json").out)
    assert imported == {"run": ran["run"], "added": exported["stages"], "known": 0}
    assert exported["stages"] == 10
    first, second = ((store / "runs" / ran["run"] / "run.json").read_bytes() for store in (here, there))
    assert first == second
    reports = [json.loads(told("report", "--store", store, "--json").out) for store in (here, there)]
    pages = [report.pop("report") for report in reports]
    assert pages == [str(store / "runs" / ran["run"] / "report.html") for store in (here, there)]
    assert reports[0] == reports[1]
    record = there / "runs" / ran["run"] / "run.json"
    write_sealed(record, {**read_sealed(record), "finished": "2026-02-03T23:59:58+00:00"})
    again = told("run", config, "--store", there, "--json")
    assert again.err.count(": already done") == 10
    # Nothing was made, so it is still the run that finished then.
    assert read_sealed(record)["finished"] == "2026-02-03T23:59:58+00:00"
    assert "Finished 2026-02-03 (UTC)" in text_of(record.with_name("report.html").read_text(encoding="utf-8"))
    assert {**json.loads(again.out), "report": None} == {**ran, "report": None}
    assert "10 stages" in told("store", "export", "tiny", tmp_path / "back.tar", "--store", there).err
    # Nothing of it is superfluous, in neither store.
    for store in (here, there):
        assert json.loads(told("store", "prune", "--yes", "--json", "--store", store).out) == {"unneeded": []}
        assert told("store", "verify", "--store", store).out.startswith("Intact: 11 of 11")
