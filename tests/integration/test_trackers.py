import pytest
from pydantic import ValidationError


@pytest.fixture(scope="module")
def scalars():
    """Reads what a tracker wrote, through the tracker's own reader: tag to step to value."""
    pytest.importorskip("tensorboard", reason="the tracker that this test reads is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder):
        (run,) = folder.iterdir()
        events = EventAccumulator(str(run)).Reload()
        return {tag: {one.step: one.value for one in events.Scalars(tag)} for tag in events.Tags()["scalars"]}

    return read


OPTIONS = {"alpha": 0.25, "accumulation": 2, "batch_size": 1, "validation": 0.34, "validation_steps": 1}


def test_a_tracker_is_told_what_the_books_say(distil, scalars, tmp_path):
    trained = distil("logits", **OPTIONS, report_to=["tensorboard"], scratch=tmp_path)
    told = scalars(trained.adapter / "runs")
    for name in ("loss", "cross_entropy", "divergence", "learning_rate"):
        expected = {row["step"]: row[name] for row in trained.history}
        assert told[f"train/{name}"] == pytest.approx(expected, rel=1e-6), name
    assert len(trained.history) == 2
    assert told["eval/loss"] == pytest.approx({row["step"]: row["validation_loss"] for row in trained.history})
    assert told["train/grad_norm"][1] > 0
    # Nothing stays where only a killed training would look.
    assert not (tmp_path / "runs").exists()


def test_being_watched_changes_nothing(distil, same_weights):
    pytest.importorskip("tensorboard", reason="the tracker that watches is not installed")
    options = {**OPTIONS, "lora": {"dropout": 0.2}}
    watched, alone = distil("logits", **options, report_to=["tensorboard"]), distil("logits", **options)
    assert same_weights(watched, alone)
    assert watched.history == alone.history
    assert not (alone.adapter / "runs").exists()


def test_trackers_are_no_part_of_a_stages_key(tiny_config, tiny_model):
    pytest.importorskip("tensorboard", reason="only an installed tracker can be named")
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.host.registry import Host

    host, file = Host(), tiny_config(tiny_model)
    text = file.read_text()

    def keys(options):
        file.write_text(text.replace("learning_rate = 1e-2 }", f"learning_rate = 1e-2{options} }}"))
        return [stage.key for stage in make_plan(load_experiment(file, host), host).stages]

    plain = keys("")
    assert keys(', report_to = ["tensorboard"]') == plain
    assert keys(", patience = 1, validation = 0.5") != plain


def test_a_tracker_that_is_unknown_or_not_installed_is_told_of_in_the_config(tiny_config, tiny_model, monkeypatch):
    from kdprobe.distill import options
    from kdprobe.errors import UsageError
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.host.registry import Host

    monkeypatch.setattr(options, "find_spec", lambda _name: None)
    file = tiny_config(tiny_model)
    plain = file.read_text()
    for name, sentence in (("clipboard", "input should be 'tensorboard', "), ("mlflow", "mlflow is not installed")):
        file.write_text(plain.replace("learning_rate = 1e-2 }", f'learning_rate = 1e-2, report_to = ["{name}"] }}'))
        with pytest.raises(UsageError) as error:
            load_experiment(file, Host())
        assert sentence in str(error.value) + str(error.value.hint)


def test_a_folder_that_a_tracker_left_behind_is_not_the_tracker(tmp_path, monkeypatch):
    from kdprobe.distill.options import TrainingOptions

    (tmp_path / "swanlab").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValidationError, match="swanlab is not installed; `pip install swanlab` installs it"):
        TrainingOptions(report_to=["swanlab"])


def test_every_tracker_is_one_of_the_transformers_library():
    from typing import get_args

    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    from kdprobe.distill.options import Tracker

    assert set(get_args(Tracker)) <= set(INTEGRATION_TO_CALLBACK)
