"""Training in two processes on one machine, against the same training in one process."""

import json
import subprocess

import pytest

from launching import ACCELERATE, TORCHRUN

# They start Python anew for each process, which takes longer than the trainings.
# In one process, because they share what two others trained.
pytestmark = [pytest.mark.matrix, pytest.mark.xdist_group("processes")]

COMMON = {"epochs": 2, "learning_rate": 1e-3, "alpha": 0.3}
# Six examples: three even steps; a last step with one process out of examples; the same in micro-batches; a validation
# whose three examples do not come out even.
CASES = [
    ({"batch_size": 1}, {"batch_size": 2}),
    ({"batch_size": 2}, {"batch_size": 4}),
    ({"batch_size": 1, "accumulation": 2}, {"batch_size": 4}),
    ({"batch_size": 1, "validation": 0.5, "validation_steps": 1}, {"batch_size": 2}),
    ({"batch_size": 2, "optimiser": "sgd", "momentum": 0.9, "schedule": "cosine-per-epoch"}, {"batch_size": 4}),
]


KILLED = {**COMMON, "batch_size": 2, "checkpoint_steps": 1, "lora": {"dropout": 0.3}}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def launched(launch, scratch):
    """All cases, and one with checkpoints, in one launch: most of its time is spent on loading libraries."""
    cases = [{"name": "logits", "options": {**COMMON, **ours}} for ours, _ in CASES]
    return launch(*cases, {"name": "logits", "options": KILLED, "scratch": str(scratch)}, through=ACCELERATE)


@pytest.mark.parametrize("place", range(len(CASES)), ids=["even", "fillers", "accumulated", "validated", "sgd"])
def test_two_processes_train_as_one_does(place, launched, distil, transfer):
    from kdprobe.transfer.transfer_set import read

    (books, other), folder = launched[place]
    ours, theirs = CASES[place]
    alone = distil("logits", transfer=read(transfer), **{**COMMON, **ours, "accumulation": 1, **theirs})
    assert len(books["history"]) == len(alone.history)
    for one, two in zip(alone.history, books["history"], strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    assert books == other
    assert books["adapter_norm"] == pytest.approx(alone.adapter_norm, rel=1e-3)
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


def test_two_killed_processes_go_on_to_the_same_weights(launched, launch, scratch):
    from safetensors.numpy import load_file

    (whole, _), folder = launched[-1]
    assert sorted(found.name for found in scratch.iterdir()) == ["checkpoint-3", "checkpoint-4"]
    # As if killed in the last step, in the middle of the second epoch, while its checkpoint was written.
    (scratch / "checkpoint-4" / "kdprobe_history.json").unlink()
    ((resumed, _), again) = launch({"name": "logits", "options": KILLED, "scratch": str(scratch)}, through=TORCHRUN)[0]
    assert resumed == whole
    a, b = (load_file(place / "adapter" / "adapter_model.safetensors") for place in (folder, again))
    assert all((a[name] == b[name]).all() for name in a)


def test_an_experiment_in_two_processes_is_made_once_and_told_once(tiny_config, tiny_model, tmp_path):
    command = [*TORCHRUN, "-m", "kdprobe", "run", str(tiny_config(tiny_model)), "--store", str(tmp_path), "--json"]

    def run():
        finished = subprocess.run(command, check=False, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr[-3000:]
        # One document: a second process that printed too would make it invalid.
        return json.loads(finished.stdout), finished.stderr

    told, notes = run()
    assert [arm["name"] for arm in told["arms"]] == ["untrained", "fine-tuned", "unprimed", "teacher"]
    assert notes.count("evaluate unprimed …") == 1
    stages = {file.parent: json.loads(file.read_text()) for file in tmp_path.glob("stages/distill/*/stage.json")}
    assert len(stages) == 3
    for folder, manifest in stages.items():
        assert manifest["settings"]["processes"] == 2
        # Four problems are two processes with two each.
        assert len(json.loads((folder / "training.json").read_text())["history"]) == 1
    assert not [left for left in (tmp_path / "making").iterdir() if left.is_dir()]
    again, notes = run()
    assert again == told
    assert notes.count("already done") == 10
