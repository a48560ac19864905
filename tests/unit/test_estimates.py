"""How long stages will take, estimated from similar finished stages, and the time left for a run."""

import types

import pytest

from kdprobe.console import bars, remainder
from kdprobe.console.bars import Progress
from kdprobe.console.remainder import Remainder
from kdprobe.experiment.foresight import estimates
from kdprobe.experiment.foresight.estimates import Estimates, outlook
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.store import Store
from kdprobe.models.outline import device
from kdprobe.words import duration

SETTINGS = {
    "format": 1,
    "student": {"digest": "a"},
    "problems": {"source": {"plugin": "gsm8k"}, "digest": "p"},
    "sampling": {"max_new_tokens": 80, "seed": 0},
    "environment": {"device": "cpu", "threads": 2, "libraries": {"torch": "2"}},
}


def stage(kind="evaluate", units=100, inputs=(), **settings):
    return Stage(kind, "arm", {**SETTINGS, **settings}, inputs, lambda *_: None, units)


def finished(kind="evaluate", units=50, seconds=10.0, size=1000, **changed):
    return {
        "kind": kind,
        "settings": SETTINGS | changed.pop("settings", {}),
        "inputs": [],
        "files": {"a": {"size": size - 1}, "b": {"size": 1}},
        "seconds": seconds,
        "units": units,
        "resumed": False,
        "machine": estimates.machine(),
        **changed,
    }


def test_time_and_size_are_in_proportion_to_the_problems():
    found = Estimates([finished(), finished(units=150, seconds=20.0)]).of(stage())
    assert (found.seconds, found.size, found.basis, found.units) == (15.0, 1000.0, 2, 100.0)


def test_the_number_of_strategies_changes_only_the_units():
    teaching = {"teaching": {"strategies": {"none": True}, "prompts": {"bare": "a"}}}
    more = {"teaching": {"strategies": {"none": True, "teacher": False}, "prompts": {"bare": "b"}}}
    found = Estimates([finished("analyse", settings=teaching)]).of(stage("analyse", **more))
    assert found.seconds == 20.0


def test_an_adapter_is_as_large_as_others():
    found = Estimates([finished("distill"), finished("distill", units=150, size=3000)]).of(stage("distill", units=800))
    assert (found.seconds, found.size) == (80.0, 2000.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"problems": {"source": {"plugin": "gsm8k"}, "digest": "other"}},
        {"sampling": {"max_new_tokens": 80, "seed": 7}},
        {"format": 2},
        {"strategy": "other"},
        {"environment": {"device": "cpu", "threads": 2, "libraries": {"torch": "3"}}},
    ],
)
def test_other_problems_seeds_and_strategies_are_alike(settings):
    assert Estimates([finished()]).of(stage(**settings)).seconds == 20.0


@pytest.mark.parametrize(
    "settings",
    [
        {"student": {"digest": "b"}},
        {"problems": {"source": {"plugin": "gsm-symbolic"}, "digest": "p"}},
        {"sampling": {"max_new_tokens": 512, "seed": 0}},
        {"environment": {"device": "cpu", "threads": 8, "libraries": {}}},
        {"environment": {"device": "NVIDIA H200", "threads": 2, "libraries": {}}},
    ],
)
def test_other_models_options_and_devices_are_not(settings):
    assert Estimates([finished()]).of(stage(**settings)) is None


@pytest.mark.parametrize("changed", [{"kind": "analyse"}, {"machine": "another"}, {"resumed": True}])
def test_other_kinds_machines_and_resumed_stages_say_nothing(changed):
    assert Estimates([finished(**changed)]).of(stage()) is None


def test_stages_of_earlier_versions_say_nothing():
    earlier = {name: value for name, value in finished().items() if name not in {"units", "resumed", "machine"}}
    assert Estimates([earlier]).of(stage()) is None


def test_the_same_strategy_and_a_trained_student_come_first():
    known = Estimates(
        [finished(seconds=10.0, settings={"strategy": "a"}), finished(seconds=40.0, settings={"strategy": "b"})]
    )
    assert known.of(stage(units=50, strategy="a")).seconds == 10.0
    assert known.of(stage(units=50, strategy="b")).seconds == 40.0
    assert known.of(stage(units=50, strategy="c")).seconds == 25.0
    trained = Estimates([finished(seconds=10.0), finished(seconds=40.0, inputs=["k"])])
    assert trained.of(stage(units=50)).seconds == 10.0
    assert trained.of(stage(units=50, inputs=(stage("distill"),))).seconds == 40.0


def test_a_teacher_that_reads_texts_is_not_one_that_answers():
    answered = Estimates([finished("transfer")])
    assert answered.of(stage("transfer")) is not None
    assert answered.of(stage("transfer", inputs=(stage("transfer"),))) is None
    assert answered.of(stage("transfer", texts={"digest": "gold"})) is None


def test_an_outlook_adds_up_what_is_known():
    known = Estimates([finished()]).of(stage())
    assert outlook([known, None, known]) == estimates.Outlook(40.0, 4000.0, 2, 1)


def test_the_store_records_what_estimates_need(tmp_path):
    store = Store(tmp_path)
    store.prepare()
    made = stage(units=12)
    store.make(made)
    (manifest,) = store.manifests()
    assert (manifest["units"], manifest["resumed"], manifest["machine"]) == (12, False, estimates.machine())
    assert Estimates(store.manifests()).of(stage(units=24, problems="others")) is None
    assert Estimates(store.manifests()).of(stage(units=24)).seconds == pytest.approx(2 * manifest["seconds"])


def test_a_stage_that_goes_on_where_a_killed_one_ended_is_marked(tmp_path):
    def work(folder, inputs, scratch):
        if not (scratch / "half").exists():
            (scratch / "half").touch()
            raise RuntimeError("killed")

    store = Store(tmp_path)
    store.prepare()
    killed = Stage("evaluate", "arm", SETTINGS, (), work)
    with pytest.raises(RuntimeError):
        store.make(killed)
    store.make(killed)
    assert [manifest["resumed"] for manifest in store.manifests()] == [True]


def test_the_machine_is_a_kind_of_machine(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some CPU @ 2 GHz\nprocessor : 1\nmodel name\t: x\n")
    monkeypatch.setattr(device, "_PROCESSORS", tmp_path / "cpuinfo")
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert device.machine.__wrapped__() == "Some CPU @ 2 GHz, 2 CPUs"


@pytest.mark.parametrize(
    ("stage_seconds", "after", "unknown", "task", "words"),
    [
        (60.0, 300.0, 0, 0.0, "run: about 6 min left"),
        (60.0, 300.0, 2, 0.0, "run: at least 6 min left"),
        (None, 300.0, 0, 30.0, "run: at least 6 min left"),
        # Longer than estimated: its own progress knows better.
        (60.0, 0.0, 0, 600.0, "run: about 10 min left"),
        (None, 0.0, 3, 0.0, ""),
    ],
)
def test_what_is_left_of_a_run(monkeypatch, stage_seconds, after, unknown, task, words):
    monkeypatch.setattr(remainder, "time", types.SimpleNamespace(monotonic=lambda: 100.0))
    assert Remainder(stage_seconds, after, unknown, started=100.0).words(task) == words


def test_the_progress_of_every_task_tells_what_is_left_of_the_run(monkeypatch):
    now = [100.0]
    for module in (bars, remainder):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    bar = Progress("asking", 4, None)
    now[0] += 30
    bar.advance(2)
    assert bar.state() == "2/4, 0:30 left"
    with bars.as_part(Remainder(600.0, 3600.0, 0, started=100.0)):
        assert bar.state() == "2/4, 0:30 left, run: about 70 min left"
    assert bar.state() == "2/4, 0:30 left"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (95, "2 min"), (3600, "60 min"), (7200, "2 h"), (12_000, "3 h 20 min")],
)
def test_durations_are_said_as_one_would(seconds, said):
    assert duration(seconds) == said
