import pytest

from kdprobe.errors import KdprobeError
from kdprobe.experiment.tune.config import SpaceConfig
from kdprobe.experiment.tune.space import space_of
from kdprobe.experiment.tune.study import STARTUP, open_study
from kdprobe.host.registry import Host

VARIED = {
    "temperature": [1.0, 2.0, 4.0],
    "alpha": [0.0, 0.9],
    "learning_rate": [1e-4, 1e-2],
    "divergence": ["jsd", "forward-kl"],
}
TRIALS = STARTUP + 4


class Killed(BaseException):
    """An exception that no code here catches."""


@pytest.fixture(scope="module")
def space():
    return space_of("logits", {"learning_rate": 2e-3}, SpaceConfig(**VARIED), Host())


def worth(choice):
    return -abs(choice["alpha"] - 0.3) - choice["temperature"] / 10


def go_on(file, space, trials=TRIALS, kill_at=(), sampler="tpe", seed=0, name="study", fail_at=()):
    """Continues a study up to a number of trials, or until it is killed during one; returns the choices."""
    with open_study(file, name, space, sampler=sampler, seed=seed) as study:
        while len(study.tried()) < trials:
            asked = study.ask()
            if asked.number in kill_at:
                raise Killed
            if asked.number in fail_at:
                study.tell_failed(asked, "it burst")
            else:
                study.tell(asked, worth(asked.choice))
        return study.tried()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, space):
    return go_on(tmp_path_factory.mktemp("study") / "mine.db", space)


@pytest.mark.parametrize("kills", [[0], [1, 3], [STARTUP, STARTUP + 2]])
def test_a_study_that_was_killed_asks_for_the_same_trials(tmp_path, space, whole, kills):
    for kill in kills:
        with pytest.raises(Killed):
            go_on(tmp_path / "mine.db", space, kill_at=[kill])
    assert go_on(tmp_path / "mine.db", space) == whole


def test_a_trial_that_was_under_way_keeps_its_choice_whatever_the_sampler_says_now(tmp_path, space, whole):
    with pytest.raises(Killed):
        go_on(tmp_path / "mine.db", space, kill_at=[2])
    again = go_on(tmp_path / "mine.db", space, trials=4, seed=9)
    assert again[:3] == whole[:3]
    assert again[3].choice != whole[3].choice


def test_a_trial_killed_before_its_choice_was_written_down_is_not_counted(tmp_path, space, whole, monkeypatch):
    import optuna

    suggest = optuna.trial.Trial._suggest

    def killed(trial, name, distribution):
        if name == "learning_rate":
            raise Killed
        return suggest(trial, name, distribution)

    for trials in (0, 3):
        go_on(tmp_path / "mine.db", space, trials=trials)
        with monkeypatch.context() as patch:
            patch.setattr(optuna.trial.Trial, "_suggest", killed)
            with pytest.raises(Killed):
                go_on(tmp_path / "mine.db", space, trials=trials + 1)
    assert go_on(tmp_path / "mine.db", space) == whole


def test_the_number_of_trials_is_the_total(tmp_path, space, whole):
    assert go_on(tmp_path / "mine.db", space, trials=3) == whole[:3]
    assert go_on(tmp_path / "mine.db", space, trials=5) == whole[:5]
    assert go_on(tmp_path / "mine.db", space, trials=2) == whole[:5]


def test_the_configs_own_options_come_first_and_all_others_are_of_the_space(whole, space):
    assert whole[0].choice == space.current
    assert len({tuple(tried.choice.values()) for tried in whole}) == TRIALS
    for tried in whole:
        assert tried.choice["temperature"] in VARIED["temperature"]
        assert tried.choice["divergence"] in VARIED["divergence"]
        assert 0 <= tried.choice["alpha"] <= 0.9
        assert 1e-4 <= tried.choice["learning_rate"] <= 1e-2


def test_options_outside_the_space_are_not_tried_in_it(tmp_path):
    outside = space_of("logits", {"temperature": 3.0}, SpaceConfig(**VARIED), Host())
    assert all(tried.choice["temperature"] != 3.0 for tried in go_on(tmp_path / "mine.db", outside, trials=3))


def test_values_decide_what_tpe_proposes_and_not_what_random_does(tmp_path, space, whole, monkeypatch):
    drawn = go_on(tmp_path / "random.db", space, sampler="random")
    monkeypatch.setitem(globals(), "worth", lambda choice: choice["alpha"])
    other = go_on(tmp_path / "tpe.db", space)
    choices = [tried.choice for tried in whole]
    assert [tried.choice for tried in other][:STARTUP] == choices[:STARTUP]
    assert [tried.choice for tried in other] != choices
    assert [tried.choice for tried in go_on(tmp_path / "again.db", space, sampler="random")] == [
        tried.choice for tried in drawn
    ]
    assert [tried.choice for tried in drawn] != choices


def test_seeds_and_names_are_studies_of_their_own(tmp_path, space, whole):
    go_on(tmp_path / "mine.db", space, trials=2)
    other = go_on(tmp_path / "mine.db", space, trials=2, name="another", seed=1)
    assert other[0] == whole[0]
    assert other[1].choice != whole[1].choice


def test_a_failed_trial_is_kept_with_its_reason_and_the_study_goes_on(tmp_path, space, whole):
    tried = go_on(tmp_path / "mine.db", space, trials=4, fail_at=[1])
    assert [(t.value is None, t.failure) for t in tried] == [
        (False, None), (True, "it burst"), (False, None), (False, None),
    ]  # fmt: skip
    assert [t.choice for t in tried] == [t.choice for t in whole[:4]]


def test_failed_trials_are_lessons_to_the_sampler(tmp_path, space):
    told = go_on(tmp_path / "told.db", space, trials=STARTUP + 1, fail_at=range(1, STARTUP))
    drawn = go_on(tmp_path / "drawn.db", space, trials=STARTUP + 1, sampler="random")
    assert told[:STARTUP][-1].choice == drawn[:STARTUP][-1].choice
    # Left out of account, failures would be no trials, and random ones would go on.
    assert told[STARTUP].choice != drawn[STARTUP].choice


def test_optuna_says_nothing_of_its_own(tmp_path, space, capfd):
    go_on(tmp_path / "mine.db", space, trials=3, fail_at=[1])
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_no_database_is_told(tmp_path, space):
    (tmp_path / "mine.db").write_text("this is a letter, not a database " * 40)
    with pytest.raises(KdprobeError, match=r"Cannot read the study database .*mine\.db"):
        go_on(tmp_path / "mine.db", space)
