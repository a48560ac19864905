import json

import numpy as np
import pytest

from kdprobe.errors import KdprobeError
from kdprobe.files import read_sealed, write_sealed


def weights(trained):
    from safetensors.numpy import load_file

    return load_file(trained.adapter / "adapter_model.safetensors")


def assert_close(first, second, atol):
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=atol, rtol=0, err_msg=name)


ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
ALL_LINEAR = ATTENTION | {"gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize(
    ("name", "lora", "adapted"),
    [
        ("logits", {}, ATTENTION),
        ("sequence", {}, ATTENTION),
        ("fine-tune", {}, ATTENTION),
        ("logits", {"rslora": True}, ATTENTION),
        ("logits", {"dora": True}, ATTENTION),
        ("logits", {"dora": True, "rslora": True, "target_modules": "all-linear"}, ALL_LINEAR),
    ],
)
def test_training_leaves_an_adapter_that_moved_the_student(name, lora, adapted, distil, tiny_record):
    from kdprobe.models.load import load
    from kdprobe.students.student import Student

    trained = distil(name, lora=lora)
    written = json.loads((trained.adapter / "adapter_config.json").read_text())
    assert (written["use_dora"], written["use_rslora"]) == (lora.get("dora", False), lora.get("rslora", False))
    assert trained.adapter_norm > 1e-3
    assert [row["step"] for row in trained.history] == [1, 2, 3]
    base = load(tiny_record).model.state_dict()
    merged = Student("s", tiny_record, trained.adapter).load(dtype="float32").model.state_dict()
    moved = {key: float((merged[key] - base[key]).double().norm()) for key in base}
    # What was merged is what the reported norm speaks of, and only where there is an adapter.
    assert np.sqrt(sum(value**2 for value in moved.values())) == pytest.approx(trained.adapter_norm, rel=1e-3)
    whole = np.sqrt(sum(float(base[key].double().square().sum()) for key, value in moved.items() if value))
    assert trained.relative_change == pytest.approx(trained.adapter_norm / whole, rel=1e-5)
    # The head is none of all-linear.
    assert {key.split(".")[-2] for key, value in moved.items() if value} == adapted


def test_training_prints_nothing_on_stdout(distil, capfd):
    # `kdprobe run --json` has stdout for its data.
    distil("fine-tune")
    assert capfd.readouterr().out == ""


def test_training_lowers_the_loss(distil):
    history = distil("logits", epochs=8, schedule="constant", batch_size=6).history
    assert history[-1]["loss"] < 0.9 * history[1]["loss"]


def test_same_seed_gives_the_same_weights_and_another_seed_others(distil):
    first, again, other = distil("logits"), distil("logits"), distil("logits", seed=1)
    assert_close(first, again, atol=0)
    assert first.history == again.history
    assert any((weights(first)[name] != weights(other)[name]).any() for name in weights(first))


@pytest.mark.parametrize("name", ["logits", "fine-tune"])
def test_a_step_does_not_depend_on_how_it_is_cut_into_micro_batches(name, distil):
    whole = distil(name, batch_size=4)
    halves = distil(name, batch_size=2, accumulation=2)
    assert whole.history[0]["loss"] == pytest.approx(halves.history[0]["loss"], abs=1e-5)
    assert len(whole.history) == len(halves.history) == 2
    # Adam divides by the gradient's own size, so compare after steps small enough not to magnify rounding.
    small = {"learning_rate": 1e-3}
    assert_close(distil(name, batch_size=4, **small), distil(name, batch_size=2, accumulation=2, **small), atol=1e-5)


def test_first_loss_of_fine_tuning_is_the_models_own_mean_over_all_response_tokens(distil, mean_loss, problems):
    history = distil("fine-tune", batch_size=len(problems)).history
    assert history[0]["loss"] == pytest.approx(mean_loss(range(len(problems))), abs=1e-4)


def test_every_step_moves_the_adapter_and_is_logged_with_its_own_rate(distil):
    # One step only: a warm-up that starts at zero would leave the adapter where it was.
    one = distil("fine-tune", batch_size=6, learning_rate=2e-3)
    assert one.adapter_norm > 1e-4
    assert [row["learning_rate"] for row in one.history] == [2e-3]
    longer = distil("fine-tune", batch_size=1, epochs=2, warmup=0.25, schedule="linear", learning_rate=4e-3)
    rates = [row["learning_rate"] for row in longer.history]
    assert rates[:4] == pytest.approx([1e-3, 2e-3, 3e-3, 4e-3])
    assert rates[3:] == pytest.approx([4e-3 * (1 - done / 9) for done in range(9)])


SGD = {"optimiser": "sgd", "momentum": 0.9, "learning_rate": 0.1, "schedule": "cosine-per-epoch", "max_grad_norm": 0}


@pytest.mark.parametrize("optimiser", [{}, SGD], ids=["adamw", "sgd"])
def test_a_killed_training_goes_on_to_the_same_weights(optimiser, distil, tmp_path):
    import shutil

    # Dropout, so that the random state has to come back too.
    options = {"checkpoint_steps": 1, "epochs": 2, "lora": {"dropout": 0.3}, **optimiser}
    whole = distil("logits", scratch=tmp_path, **options)
    assert len(whole.history) == 6
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["checkpoint-5", "checkpoint-6"]
    # As if killed in step 6, in the middle of writing its checkpoint.
    (tmp_path / "checkpoint-6" / "kdprobe_history.json").unlink()
    resumed = distil("logits", scratch=tmp_path, **options)
    assert_close(whole, resumed, atol=0)
    assert resumed.history == whole.history
    # A checkpoint is really what it went on from: without its state the end is another.
    shutil.rmtree(tmp_path / "checkpoint-6")
    (tmp_path / "checkpoint-5" / "optimizer.pt").unlink()
    history = tmp_path / "checkpoint-5" / "kdprobe_history.json"
    sealed = read_sealed(history)
    del sealed["files"]["optimizer.pt"]
    write_sealed(history, sealed)
    other = distil("logits", scratch=tmp_path, **options)
    assert any((weights(other)[name] != weights(whole)[name]).any() for name in weights(whole))


def test_a_training_does_not_go_on_from_a_damaged_checkpoint(distil, tmp_path, capsys):
    options = {"checkpoint_steps": 1, "epochs": 2}
    whole = distil("logits", scratch=tmp_path, **options)
    (tmp_path / "checkpoint-6" / "kdprobe_history.json").unlink()
    file = tmp_path / "checkpoint-5" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 64
    file.write_bytes(content)
    assert_close(whole, distil("logits", scratch=tmp_path, **options), atol=0)
    assert "checkpoint-5 is damaged" in capsys.readouterr().err


def test_sgd_steps_as_written_down(torch, distil):
    # v = m v + g + w d;  w = w - rate v. From weights that are known after one, two and three steps of one batch.
    options = {"batch_size": 6, "optimiser": "sgd", "momentum": 0.5, "schedule": "constant", "warmup": 0}
    options |= {"max_grad_norm": 0, "learning_rate": 0.05, "weight_decay": 0.2}
    zero, one, two = (
        weights(distil("fine-tune", epochs=n, **{**options, **o}))
        for n, o in ((1, {"learning_rate": 1e-12}), (1, {}), (2, {}))
    )
    # With another momentum the second step differs by the difference of momenta times the first step.
    plain = weights(distil("fine-tune", epochs=2, **{**options, "momentum": 0.0}))
    moved = 0.0
    for name in zero:
        step = one[name] - zero[name]
        np.testing.assert_allclose(two[name] - plain[name], 0.5 * step, atol=1e-7, err_msg=name)
        moved = max(moved, float(np.abs(step).max()))
    assert moved > 1e-3
    # B is zero at first and A gets no gradient from it: what moves A in the first step is the decay alone.
    for name in (name for name in zero if "lora_A" in name):
        np.testing.assert_allclose(one[name], zero[name] * (1 - 0.05 * 0.2), atol=1e-8, err_msg=name)


def test_cosine_per_epoch_is_torchs_annealing_stepped_beyond_its_period(torch, distil):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=5e-3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=3)
    expected = []
    for _ in range(7):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        reference.step()
    options = {"optimiser": "sgd", "schedule": "cosine-per-epoch", "warmup": 0, "learning_rate": 5e-3, "epochs": 2.3}
    rates = [row["learning_rate"] for row in distil("fine-tune", **options).history]
    assert rates == pytest.approx(expected, abs=1e-9)
    assert rates[3] == 0 < rates[4] < rates[5] < rates[6] == 5e-3


def test_lengths_of_dora_are_trained_and_not_decayed(distil, tiny_record):
    from kdprobe.models.load import load

    base = load(tiny_record).model.state_dict()
    # A decay that takes a tenth of whatever it touches, at a rate so low that nothing else moves.
    options = {"optimiser": "sgd", "learning_rate": 1e-12, "weight_decay": 1e11, "max_grad_norm": 0, "warmup": 0}
    decayed = weights(distil("fine-tune", batch_size=6, lora={"dora": True}, **options))
    trained = weights(distil("fine-tune", batch_size=6, lora={"dora": True}))
    lengths = [name for name in decayed if "magnitude" in name]
    assert len(lengths) == 8
    for name in lengths:
        matrix = base[name.removeprefix("base_model.model.").split(".lora_")[0] + ".weight"]
        np.testing.assert_allclose(decayed[name], matrix.norm(dim=1), rtol=1e-5)
        assert np.abs(trained[name] - decayed[name]).max() > 1e-4
    assert all(np.abs(decayed[name]).max() < np.abs(trained[name]).max() for name in decayed if "lora_A" in name)


def test_a_norm_of_zero_clips_nothing(distil):
    options = {"batch_size": 6, "optimiser": "sgd", "schedule": "constant", "warmup": 0, "learning_rate": 0.1}
    free, wide, narrow = (distil("fine-tune", max_grad_norm=norm, **options) for norm in (0, 1e6, 1e-3))
    assert_close(free, wide, atol=0)
    assert narrow.adapter_norm < 0.5 * free.adapter_norm


def test_momentum_of_adamw_is_refused():
    from pydantic import ValidationError

    from kdprobe.distill.options import TrainingOptions

    with pytest.raises(ValidationError, match="momentum is not a parameter of adamw"):
        TrainingOptions(momentum=0.9)


def test_sequence_is_the_cross_entropy_of_logits_and_reads_nothing_else(distil, transfer_set):
    from dataclasses import replace

    both, alone = distil("logits", alpha=0.5).history[0], distil("sequence").history[0]
    assert alone["loss"] == pytest.approx(both["cross_entropy"], rel=1e-6)
    assert "divergence" not in alone
    # A teacher that gives text only is enough.
    mute = replace(transfer_set, responses=tuple(replace(r, rows=None) for r in transfer_set.responses))
    assert distil("sequence", transfer=mute).history[0] == alone


def test_loss_mixes_divergence_and_cross_entropy(distil):
    row = distil("logits", alpha=0.25, temperature=2.0).history[0]
    assert row["loss"] == pytest.approx(0.25 * row["cross_entropy"] + 0.75 * 4 * row["divergence"], rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.25},
        {"divergence": "jsd", "beta": 0.3},
        {"divergence": "reverse-kl"},
        {"lora": {"dora": True, "target_modules": "all-linear"}},
    ],
)
def test_training_without_the_head_is_training_with_logits(options, distil, monkeypatch):
    from contextlib import nullcontext

    from kdprobe.distill.training import row_trainer, trainer

    used = []
    sparse_kd_loss = row_trainer.sparse_kd_loss
    monkeypatch.setattr(row_trainer, "sparse_kd_loss", lambda *known: used.append(1) or sparse_kd_loss(*known))
    small = {"learning_rate": 1e-3, **options}
    fast = distil("logits", **small)
    # Three steps, and a look at what they made.
    assert len(used) == 4
    # As for a model that does more to its logits than multiply.
    monkeypatch.setattr(trainer, "without_lm_head", lambda *_known: nullcontext(None))
    dense = distil("logits", **small)
    assert len(used) == 4
    for one, other in zip(fast.history, dense.history, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert_close(fast, dense, atol=1e-5)


def test_head_is_left_on_a_model_that_does_more_than_multiply(torch, tiny_record):
    from peft import get_peft_model

    from kdprobe.distill.adapter import lora_config
    from kdprobe.distill.options import LoraOptions
    from kdprobe.models.lm_head import without_lm_head
    from kdprobe.models.load import load

    student = load(tiny_record).model
    model = get_peft_model(student, lora_config(LoraOptions(), student))
    head = model.get_output_embeddings()
    ids = torch.arange(5)[None]
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        with without_lm_head(model, 40) as matrix:
            assert matrix.shape[0] == 40
            hidden = model(input_ids=ids).logits
            np.testing.assert_allclose(hidden @ matrix.T, logits[..., :40], atol=1e-5)
        assert model.get_output_embeddings() is head
        forward = type(model.get_base_model()).forward

        def capped(self, *known, **more):
            output = forward(self, *known, **more)
            output.logits = 0.1 * torch.tanh(output.logits / 0.1)
            return output

        model.get_base_model().forward = capped.__get__(model.get_base_model())
        with without_lm_head(model, 40) as matrix:
            assert matrix is None
            assert model.get_output_embeddings() is head
        del model.get_base_model().forward
        head.weight.requires_grad_(True)
        with without_lm_head(model, 40) as matrix:
            assert matrix is None


def test_a_parameter_of_another_divergence_is_refused():
    from pydantic import ValidationError

    from kdprobe.distill.options import LogitsOptions

    with pytest.raises(ValidationError, match="beta is not a parameter of skew-kl"):
        LogitsOptions(divergence="skew-kl", beta=0.5)


def test_a_temperature_that_was_not_captured_is_refused(distil):
    with pytest.raises(KdprobeError, match=r"tail mass at temperature 3\.0"):
        distil("logits", temperature=3.0)


def test_another_tokenizer_is_refused(distil, transfer_set):
    from dataclasses import replace

    other = replace(transfer_set, manifest={**transfer_set.manifest, "tokenizer": "another"})
    with pytest.raises(KdprobeError, match="differs from that of the transfer set"):
        distil("logits", transfer=other)


def test_saving_an_adapter_asks_the_hub_nothing(distil, tiny_record, monkeypatch):
    from peft.utils import save_and_load

    asked = []
    monkeypatch.setattr(save_and_load, "check_file_exists_on_hf_hub", lambda name, *_, **__: asked.append(name))
    trained = distil("fine-tune")
    assert asked == []
    named = json.loads((trained.adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == tiny_record.path.name


def test_an_adapter_of_another_model_is_refused(torch, distil, tiny_record, tmp_path):
    import shutil

    from safetensors.numpy import save_file

    from kdprobe.errors import UsageError
    from kdprobe.students.student import Student

    trained = distil("fine-tune")
    wrong = tmp_path / "wrong"
    shutil.copytree(trained.adapter, wrong)
    save_file({k: np.zeros((3, 5), np.float32) for k in weights(trained)}, wrong / "adapter_model.safetensors")
    named = json.loads((wrong / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == tiny_record.path.name
    with pytest.raises(UsageError, match="does not fit the model"):
        Student("s", tiny_record, wrong).load(dtype="float32")
