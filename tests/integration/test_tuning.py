import json
import re
import tomllib
from dataclasses import replace

import pandas as pd
import pytest

import kdprobe

TUNE = """
[tune]
validation = 2
trials = {trials}
seed = 4  # of a study whose best trial is not the first
{more}
[tune.space]
temperature = [1.0, 2.0, 4.0]
alpha = [0.0, 0.9]
learning_rate = [1e-3, 3e-2]
rank = [2, 8]
divergence = ["forward-kl", "reverse-kl"]
"""
TRIALS = 4
VALIDATION = ["transfer-5", "transfer-6"]


@pytest.fixture(scope="module")
def host():
    from kdprobe.host.registry import Host

    return Host()


@pytest.fixture(scope="module")
def config(torch, tiny_model, tiny_config):
    """Writes a config with a section [tune]; returns the file."""

    def write(extra=None, trials=TRIALS, more="", **changes):
        file = tiny_config(tiny_model, extra=TUNE.format(trials=trials, more=more) if extra is None else extra)
        text = file.read_text()
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        return file

    return write


@pytest.fixture(scope="module")
def prepared(config, host):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.tune.search import prepare

    return lambda *extra, **changes: prepare(load_experiment(config(*extra, **changes), host), host)


@pytest.fixture
def new_store(tmp_path):
    from kdprobe.experiment.store import Store

    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def finished(prepared, tmp_path_factory):
    """A study, run once: what was searched, its store and its result."""
    from kdprobe.experiment.store import Store
    from kdprobe.experiment.tune.search import tune

    tuning = prepared()
    store = Store(tmp_path_factory.mktemp("tuning"))
    return tuning, store, tune(tuning, store)


def manifests(store, kind):
    return [json.loads(file.read_text()) for file in store.root.glob(f"stages/{kind}/*/stage.json")]


def records(tuning, store, trial):
    _, evaluated = tuning.stages("", trial.options)
    return pd.read_parquet(store.folder(evaluated) / "records.parquet")


def last_loss(tuning, store, trial):
    distilled, _ = tuning.stages("", trial.options)
    return json.loads((store.folder(distilled) / "training.json").read_text())["history"][-1]["loss"]


def test_a_study_has_its_trials_and_the_configs_own_options_first(finished, host):
    tuning, _, tuned = finished
    assert [trial.number for trial in tuned.trials] == list(range(TRIALS))
    assert tuned.current == tuned.trials[0]
    own = tuning.experiment.distill.options
    assert host.options("distillers", "logits", tuned.current.options) == host.options("distillers", "logits", own)
    assert len({json.dumps(trial.options) for trial in tuned.trials}) == TRIALS


def test_examinations_are_of_the_validation_problems_alone(finished):
    from kdprobe.problems.draw import draw, normalised
    from kdprobe.problems.sources.jsonl import JsonlOptions, build

    tuning, store, tuned = finished
    source = build(JsonlOptions(**tuning.experiment.problems.options))
    drawn = draw(source, transfer=4, test=4)
    trained = {normalised(problem.question) for problem in drawn.transfer}
    tested = {normalised(problem.question) for problem in drawn.test}
    asked = {problem.id: normalised(problem.question) for problem in source("transfer")}
    examined = [pd.read_parquet(file).id.tolist() for file in store.root.glob("stages/evaluate/*/records.parquet")]
    assert examined == [VALIDATION] * TRIALS
    assert not {asked[id_] for id_ in VALIDATION} & (trained | tested)
    transfer = next(iter(store.root.glob("stages/transfer/*/responses.parquet")))
    assert pd.read_parquet(transfer).id.tolist() == [problem.id for problem in drawn.transfer]
    assert all(trial.n == len(VALIDATION) for trial in tuned.trials)


def test_the_transfer_set_is_captured_once_at_every_temperature_of_the_space(finished):
    _, store, tuned = finished
    (manifest,) = manifests(store, "transfer")
    captured = manifest["settings"]["sampling"]["temperatures"]
    assert captured == [1.0, 2.0, 4.0]
    assert {m["settings"]["options"]["temperature"] for m in manifests(store, "distill")} <= set(captured)
    assert len({trial.choice["temperature"] for trial in tuned.trials}) > 1


def test_the_criterion_decides_and_the_loss_does_not(finished):
    tuning, store, tuned = finished
    worth = [records(tuning, store, trial).log_p_gold_value.mean() for trial in tuned.trials]
    assert [trial.log_p_gold_value for trial in tuned.trials] == pytest.approx(worth)
    best = max(range(TRIALS), key=worth.__getitem__)
    losses = [last_loss(tuning, store, trial) for trial in tuned.trials]
    assert tuned.best.number == best
    # Losses at other temperatures and weights are of other sizes: their order says nothing.
    assert sorted(range(TRIALS), key=losses.__getitem__) != sorted(range(TRIALS), key=worth.__getitem__, reverse=True)


def test_the_sampler_is_told_the_criterion(finished):
    import optuna

    tuning, _, tuned = finished
    study = optuna.load_study(study_name=tuning.study, storage=f"sqlite:///{tuned.database}")
    assert [trial.value for trial in study.trials] == [trial.log_p_gold_value for trial in tuned.trials]
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_a_finished_study_makes_nothing_again(finished):
    from kdprobe.experiment.tune.search import tune

    tuning, store, tuned = finished
    prerequisites = {file: file.stat().st_mtime_ns for file in (store.root / "stages").glob("*/*/**/*")}
    assert tune(tuning, store) == tuned
    assert {file: file.stat().st_mtime_ns for file in (store.root / "stages").glob("*/*/**/*")} == prerequisites


@pytest.mark.parametrize("kind", ["distill", "evaluate"])
def test_a_study_that_was_interrupted_goes_on_to_the_same_result(finished, new_store, monkeypatch, kind):
    from kdprobe.experiment.store import Store
    from kdprobe.experiment.tune.search import tune

    tuning, _, tuned = finished
    make = Store.make

    def interrupted(self, stage):
        if (stage.kind, stage.name) == (kind, "trial 2"):
            raise KeyboardInterrupt
        return make(self, stage)

    monkeypatch.setattr(Store, "make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(tuning, new_store)
    done = {file: file.stat().st_mtime_ns for file in new_store.root.glob("stages/*/*")}
    assert len(manifests(new_store, "distill")) == (2 if kind == "distill" else 3)
    monkeypatch.undo()
    again = tune(tuning, new_store)
    assert [trial.choice for trial in again.trials] == [trial.choice for trial in tuned.trials]
    assert replace(again, database=tuned.database) == tuned
    assert done.items() <= {file: file.stat().st_mtime_ns for file in new_store.root.glob("stages/*/*")}.items()


def test_a_training_that_diverges_is_a_failed_trial(prepared, new_store):
    from kdprobe.experiment.tune.search import tune

    extra = "[tune]\nvalidation = 2\ntrials = 2\n[tune.space]\nlearning_rate = [1e36, 5e36]\n"
    tuned = tune(prepared(extra), new_store)
    assert len(tuned.trials) == 2
    for trial in tuned.trials:
        assert re.fullmatch(r"diverged: The loss is (nan|inf) at training step 2\.", trial.failure)
    assert tuned.best is tuned.current
    assert tuned.current.number is None
    assert not tuned.improved
    assert tuned.verdict()[0] == "No trial beat the current options on log p(gold value)."
    # Nobody examines a student of NaN.
    assert len(manifests(new_store, "evaluate")) == 1


def test_a_student_that_overflows_is_a_failed_trial_and_is_not_examined_again(prepared, new_store):
    from kdprobe.experiment.tune.search import tune

    extra = "[tune]\nvalidation = 2\ntrials = 1\n[tune.space]\nlearning_rate = [1e3, 2e3]\n"
    halves = {
        "student": ("[student]", '[student]\ndtype = "float16"'),
        "own": ("[distill]", '[distill]\ndtype = "float32"'),
    }
    tuning = prepared(extra, **halves)
    (trial,) = tune(tuning, new_store).trials
    assert trial.failure.startswith("overflowed during evaluation: ")
    made = {file: file.stat().st_mtime_ns for file in new_store.root.glob("stages/*/*")}
    assert tune(tuning, new_store).trials == [trial]
    assert {file: file.stat().st_mtime_ns for file in new_store.root.glob("stages/*/*")} == made


def test_without_one_student_the_study_says_so(prepared, new_store):
    from kdprobe.errors import KdprobeError
    from kdprobe.experiment.tune.search import tune

    extra = "[tune]\nvalidation = 2\ntrials = 1\n[tune.space]\nrank = [2, 4]\n"
    with pytest.raises(KdprobeError, match=r"No trial of tiny-\w+ produced a student"):
        tune(
            prepared(extra, rate=("batch_size = 2, learning_rate = 1e-2", "batch_size = 2, learning_rate = 1e37")),
            new_store,
        )


def fail_in(monkeypatch, name, error):
    from kdprobe.experiment.store import Store

    make = Store.make

    def failing(self, stage):
        if stage.name == name:
            raise error
        return make(self, stage)

    monkeypatch.setattr(Store, "make", failing)


def test_a_trial_that_runs_out_of_memory_is_a_failed_trial(finished, monkeypatch):
    from kdprobe.experiment.tune.search import tune

    tuning, store, tuned = finished
    fail_in(monkeypatch, "trial 1", RuntimeError("out of memory\nat length"))
    other = replace(tuning, study="another")
    again = tune(other, store)
    assert again.trials[1].failure == "RuntimeError: out of memory"
    assert again.trials[0] == tuned.trials[0]
    assert len(again.trials) == TRIALS
    monkeypatch.undo()
    assert tune(other, store) == again


def test_what_no_choice_mends_ends_the_study(finished, monkeypatch):
    from kdprobe.errors import KdprobeError
    from kdprobe.experiment.tune.search import tune

    tuning, store, _ = finished
    fail_in(monkeypatch, "trial 1", KdprobeError("The tokenizers differ."))
    with pytest.raises(KdprobeError, match="tokenizers differ"):
        tune(replace(tuning, study="a third"), store)


def test_a_changed_config_is_another_study_and_more_trials_are_the_same(finished, prepared):
    study = finished[0].study
    assert prepared(trials=9).study == study
    others = [
        prepared(more='by = "accuracy"'),
        prepared(seed=("seed = 4", "seed = 1")),
        prepared(more='sampler = "random"'),
        prepared(more='strategy = "teacher"'),
        prepared(space=("rank = [2, 8]", "rank = [2, 8, 16]")),
        prepared(budget=("[evaluation]\nmax_new_tokens = 8", "[evaluation]\nmax_new_tokens = 9")),
        prepared(epochs=("options = { epochs = 1", "options = { epochs = 2")),
        prepared(validation=("validation = 2", "validation = 3"), transfer=("\ntransfer = 4", "\ntransfer = 3")),
    ]
    assert len({study, *(other.study for other in others)}) == 1 + len(others)


def test_a_run_does_not_depend_on_the_section_tune(config, host):
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan

    runs = {make_plan(load_experiment(config(extra), host), host).run for extra in (None, "")}
    assert len(runs) == 1


def test_the_current_temperature_is_captured_beside_the_grid(prepared):
    tuning = prepared(own=('"logits"\noptions = { epochs', '"logits"\noptions = { temperature = 3.0, epochs'))
    assert tuning.prerequisites[0].settings["sampling"]["temperatures"] == (1.0, 2.0, 3.0, 4.0)
    assert not tuning.space.holds_current()


def test_a_distiller_without_temperature_is_tuned_in_what_it_has(prepared):
    tuning = prepared("[tune]\nvalidation = 2\n", name=('name = "logits"', 'name = "sequence"'))
    assert set(tuning.space.varied) == {"learning_rate", "rank"}
    assert tuning.prerequisites[0].settings["sampling"]["temperatures"] == (1.0,)


def test_too_few_validation_problems_are_told(prepared):
    from kdprobe.errors import KdprobeError

    with pytest.raises(KdprobeError, match="4 for training and 3 for validation"):
        prepared(validation=("validation = 2", "validation = 3"))


def test_the_written_config_is_the_users_own_with_the_best_options(finished, config, host, tmp_path, capfd):
    from click.testing import CliRunner

    from kdprobe.cli.tune import command
    from kdprobe.experiment.load_config import load_experiment

    _, store, tuned = finished
    file, out = config(comment=("[distill]", "# how\n[distill]")), tmp_path / "tuned.toml"
    arguments = [str(file), "--store", str(store.root), "--out", str(out)]
    done = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    said = json.loads(done.stdout)
    assert (said["study"], said["best"]["number"], said["out"]) == (tuned.study, tuned.best.number, str(out))
    assert [trial["number"] for trial in said["trials"]] == list(range(TRIALS))
    # The same call in Python says the same.
    again = kdprobe.tune(file, store=store.root, progress=False)
    assert again.to_dict() == said | {"out": None}
    assert again.to_json() + "\n" == CliRunner().invoke(command, [*arguments[:3], "--json"]).stdout
    written = load_experiment(out, host)
    best = host.options("distillers", "logits", written.distill.options)
    assert best == host.options("distillers", "logits", tuned.best.options)
    # Said in full, defaults too: what was chosen is what stands there.
    told = tomllib.loads(out.read_text())["distill"]["options"]
    assert {name: told[name] for name in ("temperature", "alpha", "learning_rate", "divergence")} == {
        name: tuned.best.choice[name] for name in ("temperature", "alpha", "learning_rate", "divergence")
    }
    assert told["lora"]["rank"] == tuned.best.choice["rank"]
    assert written.model_copy(update={"distill": None}) == load_experiment(file, host).model_copy(
        update={"distill": None}
    )
    assert "# how\n[distill]" in out.read_text()
    assert tuned.study in out.read_text().splitlines()[0]


def test_the_command_line_goes_before_the_config(config, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from kdprobe.cli.tune import command
    from kdprobe.experiment.tune import search

    asked = []

    def caught(prepared, _store):
        asked.append((prepared.experiment.tune.trials, prepared.experiment.tune.by))
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "tune", caught)
    for given in ([], ["--trials", "7"], ["--by", "accuracy"]):
        CliRunner().invoke(command, [str(config()), "--store", str(tmp_path), *given])
    assert asked == [(TRIALS, "log-p-gold-value"), (7, "log-p-gold-value"), (TRIALS, "accuracy")]


def test_an_existing_file_is_left_alone(config, tmp_path):
    from click.testing import CliRunner

    from kdprobe.cli.tune import command
    from kdprobe.errors import UsageError

    (tmp_path / "tuned.toml").write_text("precious")
    with pytest.raises(UsageError, match="already exists"):
        CliRunner().invoke(command, [str(config()), "--out", str(tmp_path / "tuned.toml")], catch_exceptions=False)
    assert (tmp_path / "tuned.toml").read_text() == "precious"


def test_the_terminal_shows_the_best_first_and_what_may_be_said(finished, capsys):
    from kdprobe.cli.show.tuning import show_tuning

    tuned = finished[2]
    show_tuning(tuned)
    shown = capsys.readouterr().out
    lines = [line for line in shown.splitlines() if f"/{len(VALIDATION)} " in line]
    ranked = sorted(tuned.trials, key=lambda trial: -trial.log_p_gold_value)
    assert [int(line.split()[0].rstrip("*")) for line in lines] == [trial.number for trial in ranked]
    for trial, line in zip(ranked, lines, strict=True):
        # On 80 columns nothing is cut short.
        for cell in (*trial.choice.values(), f"{trial.log_p_gold_value:.3f}", f"{trial.accuracy:.1%}"):
            assert f" {cell} " in line
    assert [line.split()[0].endswith("*") for line in lines] == [trial.number == 0 for trial in ranked]
    words = " ".join(shown.split())
    assert "The test problems were not used." in words
    assert all(" ".join(sentence.split()) in words for sentence in tuned.verdict())


def test_matched_answers_are_found_among_all_strategies_before_one_is_tuned(prepared):
    tuning = prepared(name=("[transfer]\n", '[transfer]\nfilter = "matched"\n'))
    assert [stage.kind for stage in tuning.prerequisites] == ["transfer", "transfer", "select"]
    distilled, _ = tuning.stages("trial", tuning.space.options)
    assert distilled.inputs == (tuning.prerequisites[0], tuning.prerequisites[2])
