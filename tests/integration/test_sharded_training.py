"""Two processes that share a model, and two that each have all of it, against one process."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from launching import ACCELERATE, TORCHRUN, sharded

# In one process, because they share what two others trained.
pytestmark = [pytest.mark.matrix, pytest.mark.xdist_group("sharded_training")]

LORAS = {"LoRA": {}, "DoRA": {"dora": True}, "rsLoRA": {"rslora": True}}
CELLS = [(kind, checkpointing) for kind in LORAS for checkpointing in (False, True)]
COMMON = {"epochs": 1, "learning_rate": 1e-3, "alpha": 0.3, "batch_size": 2}
STOPPING = {"batch_size": 1, "validation": 0.5, "validation_steps": 1, "patience": 1, "epochs": 4}
CASES = {
    "accumulated": {"batch_size": 1, "accumulation": 2},
    "stopped": {**STOPPING, "optimiser": "sgd", "learning_rate": 3, "checkpoint_steps": 1},
    "sgd": {"optimiser": "sgd", "momentum": 0.9, "weight_decay": 0.1},
}
STUDENTS = {
    "tied": ("llama", {"tie_word_embeddings": True}),
    "capped": ("gemma2", {}),
    # Without the dropout of its own, which draws other numbers in each process.
    "packed heads": ("gpt2", {"attn_pdrop": 0, "resid_pdrop": 0, "embd_pdrop": 0}),
    "experts": ("mixtral", {}),
}
RUN = Path(__file__).parent / "launched" / "run.py"
KILLED = {**COMMON, "epochs": 2, "checkpoint_steps": 1, "lora": {"dropout": 0.3}}


def cell(kind, checkpointing):
    lora = {"target_modules": "all-linear", **LORAS[kind]}
    return {**COMMON, "lora": lora, "gradient_checkpointing": checkpointing}


def tensors(adapter):
    from safetensors.numpy import load_file

    return load_file(adapter / "adapter_model.safetensors")


def assert_same(alone, books, folder):
    """The losses and every tensor of two processes are those of one, up to rounding."""
    assert len(books["history"]) == len(alone.history)
    for one, two in zip(alone.history, books["history"], strict=True):
        assert two == pytest.approx(one, rel=1e-5, abs=1e-5)
    assert books["best_step"] == alone.best_step
    assert books["adapter_norm"] == pytest.approx(alone.adapter_norm, rel=1e-3)
    assert books["relative_change"] == pytest.approx(alone.relative_change, rel=1e-3)
    expected, found = tensors(alone.adapter), tensors(folder / "adapter")
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
    for name in expected:
        # Adam divides by the gradient's own size, and so magnifies the rounding of the smallest.
        difference, size = (float(np.linalg.norm(each)) for each in (found[name] - expected[name], expected[name]))
        assert difference <= 1e-3 * size > 0, name
    written, ours = (
        json.loads((each / "adapter_config.json").read_text()) for each in (alone.adapter, folder / "adapter")
    )
    assert ours == written


@pytest.fixture(scope="module")
def fsdp(tmp_path_factory):
    return sharded(tmp_path_factory.mktemp("accelerate"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("killed"), tmp_path_factory.mktemp("stopped")


@pytest.fixture(scope="module")
def copies(launch):
    """Two processes with a model each."""
    return launch(*({"name": "logits", "options": cell(*each)} for each in CELLS), through=ACCELERATE)


@pytest.fixture(scope="module")
def slices(launch, fsdp, model_of, scratch):
    """Two processes with half a model each, by name; in one launch, whose time is spent on loading libraries."""
    trainings = {str(each): {"name": "logits", "options": cell(*each)} for each in CELLS}
    trainings |= {name: {"name": "logits", "options": {**COMMON, **case}} for name, case in CASES.items()}
    trainings["stopped"]["scratch"] = str(scratch[1])
    for name, (architecture, changed) in STUDENTS.items():
        model = str(model_of(architecture, **changed).path)
        trainings[name] = {"name": "fine-tune", "options": fine_tuning(), "model": model}
    trainings["bfloat16"] = {"name": "logits", "options": COMMON, "dtype": "bfloat16"}
    trainings["killed"] = {"name": "logits", "options": KILLED, "scratch": str(scratch[0])}
    return dict(zip(trainings, launch(*trainings.values(), through=fsdp), strict=True))


def fine_tuning():
    return {name: value for name, value in COMMON.items() if name != "alpha"}


@pytest.fixture(scope="module")
def alone(distil, transfer):
    """The same training in one process with the whole batch."""
    from kdprobe.transfer.transfer_set import read

    def train(name="logits", **options):
        options = {**COMMON, **options} if name == "logits" else options
        whole = options["batch_size"] * 2 * options.get("accumulation", 1)
        return distil(name, transfer=read(transfer), **{**options, "batch_size": whole, "accumulation": 1})

    return train


@pytest.mark.parametrize("each", CELLS, ids=str)
def test_two_copies_train_as_one_does(each, copies, alone):
    (books, other), folder = copies[CELLS.index(each)]
    assert books == other
    assert_same(alone(**cell(each[0], checkpointing=False)), books, folder)


@pytest.mark.parametrize("each", CELLS, ids=str)
def test_two_slices_train_as_one_does(each, slices, alone):
    (books, other), folder = slices[str(each)]
    assert books == other
    # The output matrix, which is not tied to the embeddings, is the only weight that every process has.
    assert books["undivided"] == ["base_model.model.lm_head.weight"]
    assert_same(alone(**cell(each[0], checkpointing=False)), books, folder)


@pytest.mark.parametrize("case", CASES)
def test_slices_accumulate_and_validate_as_one_does(case, slices, alone):
    (books, other), folder = slices[case]
    assert books == other
    trained = alone(**CASES[case])
    assert trained.stopped_early == (case == "stopped")
    assert_same(trained, books, folder)


@pytest.mark.parametrize("student", STUDENTS)
def test_slices_of_other_students_train_as_one_does(student, slices, alone, model_of):
    architecture, changed = STUDENTS[student]
    (books, _), folder = slices[student]
    assert len(books["undivided"]) == {"capped": 0}.get(student, 1)
    trained = alone("fine-tune", student=model_of(architecture, **changed), **fine_tuning())
    assert_same(trained, books, folder)


@pytest.mark.parametrize("student", [None, "tied", "packed heads"])
def test_a_process_keeps_what_plans_say(student, copies, slices, model_of, tiny_model, tmp_path):
    from kdprobe.experiment.costs.devices import TABLE, Devices
    from kdprobe.experiment.costs.runner import Runner
    from kdprobe.models.outline.memory import Memory
    from kdprobe.models.outline.sizes import sizes
    from kdprobe.models.reference import resolve

    if student:
        architecture, changed = STUDENTS[student]
        model, trained = model_of(architecture, **changed), slices[student]
    else:
        model, trained = resolve(str(tiny_model)), slices[str(CELLS[0])]
        ((whole, _), _) = copies[0]
        assert whole["kept"] == 4 * sizes(model, Memory(tmp_path)).parameters
    found = sizes(model, Memory(tmp_path))
    ((one, two), _) = trained
    gathered = found.embedding - (found.head if found.tied else 0) + 2 * found.body / found.layers
    planned = Runner(found, "float32", Devices(TABLE["h100"], 2), shards=2).weights_in_training - 4 * gathered
    assert (one["kept"] + two["kept"]) / 2 == pytest.approx(planned)


def test_slices_in_16_bits_train_an_adapter_in_32(slices, alone):
    (books, other), folder = slices["bfloat16"]
    assert books == other
    exact = alone()
    assert books["history"][0]["loss"] == pytest.approx(exact.history[0]["loss"], abs=0.05)
    found = tensors(folder / "adapter")
    assert {str(tensor.dtype) for tensor in found.values()} == {"float32"}
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in tensors(exact.adapter).items()
    }


def test_two_killed_slices_go_on_to_the_same_weights(slices, launch, fsdp, scratch):
    killed, stopped = scratch
    _, folder = slices["killed"]
    assert sorted(found.name for found in killed.iterdir()) == ["checkpoint-3", "checkpoint-4"]
    shapes = {name: tensor.shape for name, tensor in tensors(folder / "adapter").items()}
    assert {name: tensor.shape for name, tensor in tensors(killed / "checkpoint-3").items()} == shapes
    # As if killed in the last step, in the middle of the second epoch, while its checkpoint was written. The other
    # training had been stopped by its validations, and was killed before its adapter was written.
    (killed / "checkpoint-4" / "kdprobe_history.json").unlink()
    relaunched = launch(
        {"name": "logits", "options": KILLED, "scratch": str(killed)},
        {"name": "logits", "options": {**COMMON, **CASES["stopped"]}, "scratch": str(stopped)},
        through=fsdp,
    )
    for name, ((resumed, _), again) in zip(("killed", "stopped"), relaunched, strict=True):
        (whole, _), folder = slices[name]
        assert {**resumed, "undivided": [], "kept": 0} == {**whole, "undivided": [], "kept": 0}
        a, b = tensors(folder / "adapter"), tensors(again / "adapter")
        assert all((a[name] == b[name]).all() for name in a)


def test_an_experiment_on_slices_is_that_on_copies(fsdp, tiny_config, tiny_model, tmp_path):
    config = str(tiny_config(tiny_model))

    def run(name, *command):
        command = [*command, "run", config, "--store", str(tmp_path / name), "--json"]
        finished = subprocess.run(command, check=False, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr[-3000:]
        found = sorted((tmp_path / name / "stages").glob("*/*/stage.json"))
        return json.loads(finished.stdout), [file.parent for file in found]

    (copies, wholes), (slices, divided) = run("copies", *TORCHRUN, "-m", "kdprobe"), run("slices", *fsdp, str(RUN))
    assert [(each.parent.name, each.name) for each in divided] == [(each.parent.name, each.name) for each in wholes]
    for one, other in zip(wholes, divided, strict=True):
        if one.parent.name == "distill":
            expected, found = tensors(one / "adapter"), tensors(other / "adapter")
            assert expected.keys() == found.keys()
            for name, tensor in expected.items():
                assert np.linalg.norm(found[name] - tensor) <= 1e-3 * np.linalg.norm(tensor) > 0, name
    accuracies = [{arm["name"]: arm["accuracy"] for arm in result["arms"]} for result in (copies, slices)]
    assert accuracies[0] == accuracies[1]
