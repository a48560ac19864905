import math
import shutil

import pytest
from pydantic import ValidationError

from kdprobe.errors import KdprobeError

# Two of six held out, four steps an epoch, and a random teacher's text, which can only be learnt by heart.
OVERFITTING = {
    "validation": 0.34,
    "batch_size": 1,
    "epochs": 12,
    "learning_rate": 3e-3,
    "schedule": "linear",
    "lora": {"dropout": 0.1, "target_modules": "all-linear"},
}


@pytest.fixture(scope="module")
def stopped(distil):
    return distil("sequence", **OVERFITTING, patience=2)


def validated(trained):
    return {int(row["step"]): row["validation_loss"] for row in trained.history if "validation_loss" in row}


def test_validation_loss_is_a_mean_over_all_held_out_tokens_and_none_of_them_is_trained_on(distil, mean_loss):
    from kdprobe.distill.training.validation import hold_out

    trained_on, held = hold_out(6, 0.5, seed=3)
    assert len(trained_on) == len(held) == 3
    still = {"learning_rate": 1e-12, "batch_size": 2, "accumulation": 2, "validation": 0.5, "seed": 3}
    (row,) = distil("fine-tune", **still).history
    assert row["loss"] == pytest.approx(mean_loss(trained_on), abs=1e-4)
    assert row["validation_loss"] == pytest.approx(mean_loss(held), abs=1e-4)


def test_the_seed_alone_says_what_is_held_out():
    from kdprobe.distill.training.validation import hold_out

    assert hold_out(40, 0.25, 0) == hold_out(40, 0.25, 0)
    assert hold_out(40, 0.25, 0) != hold_out(40, 0.25, 1)
    trained, held = hold_out(40, 0.25, 0)
    assert len(held) == 10
    assert sorted(trained + held) == list(range(40))


def test_training_stops_when_patience_is_exhausted_and_keeps_the_best_weights(stopped, distil, same_weights):
    losses = validated(stopped)
    best = min(losses, key=losses.get)
    assert list(losses) == list(range(4, len(stopped.history) + 1, 4))
    assert 4 < best < len(stopped.history) == best + 2 * 4 < 48
    assert (stopped.stopped_early, stopped.best_step) == (True, best)
    # The same schedule, ended at that very step.
    until = distil("sequence", **OVERFITTING, max_steps=best)
    assert same_weights(stopped, until)
    assert until.history == stopped.history[:best]
    assert until.stopped_early
    assert until.best_step is None


def test_without_patience_validation_only_watches(distil, same_weights):
    short = {**OVERFITTING, "epochs": 2}
    rare, often = distil("sequence", **short), distil("sequence", **short, validation_steps=3)
    assert list(validated(rare)) == [4, 8]
    assert list(validated(often)) == [3, 6, 8]
    assert same_weights(rare, often)
    assert not often.stopped_early


@pytest.mark.parametrize("killed_after", ["before the best", "after the best", "at the end"])
def test_a_killed_training_stops_at_the_same_step_with_the_same_weights(
    killed_after, stopped, distil, same_weights, tmp_path
):
    best, end = stopped.best_step, len(stopped.history)
    after = {"before the best": best - 1, "after the best": best + 1, "at the end": end}[killed_after]
    # The killed one leaves a checkpoint at this step and nothing later.
    options = {**OVERFITTING, "patience": 2, "checkpoint_steps": after}
    distil("sequence", **options, scratch=tmp_path)
    for folder in tmp_path.iterdir():
        if folder.name != f"checkpoint-{after}":
            shutil.rmtree(folder)
    assert len(list(tmp_path.iterdir())) == 1
    resumed = distil("sequence", **options, scratch=tmp_path)
    assert same_weights(resumed, stopped)
    assert resumed.history == stopped.history
    assert resumed.best_step == best


def test_a_loss_that_is_no_number_is_never_the_best():
    from kdprobe.distill.training.validation import best_step, exhausted

    rows = [{"step": step, "validation_loss": loss} for step, loss in enumerate([math.nan, 2.0, math.nan, 3.0], 1)]
    assert best_step(rows) == 2
    assert exhausted(rows, 2)
    assert not exhausted(rows, 3)
    assert not exhausted(rows[:1], 1)


@pytest.mark.parametrize("option", [{"patience": 1}, {"validation_steps": 5}])
def test_options_of_validation_without_a_share_are_refused(option):
    from kdprobe.distill.options import TrainingOptions

    with pytest.raises(ValidationError, match="validation is 0"):
        TrainingOptions(**option)


def test_holding_out_everything_is_refused(distil):
    with pytest.raises(KdprobeError, match="leaves none to train on"):
        distil("fine-tune", validation=0.95)
