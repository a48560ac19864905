"""NaN and infinity stop a run where they appear, with a sentence and without a sealed stage, except in training."""

import json
import tomllib

import numpy as np
import pytest

from kdprobe.errors import NonFiniteError


@pytest.fixture(scope="module")
def overflowing(tiny_model, tmp_path_factory):
    """The tiny model with weights that fit into float16 but whose products do not."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("overflowing")
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    for layer in model.model.layers:
        layer.mlp.down_proj.weight.data.mul_(2e4)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture
def stages(tiny_config, tmp_path):
    """Plans a tiny experiment; returns its arm `teacher`, the untrained one, and the store."""

    def make(model, **sections):
        from kdprobe.experiment.load_config import check
        from kdprobe.experiment.plan import make_plan
        from kdprobe.experiment.store import Store
        from kdprobe.host.registry import Host

        data = tomllib.loads(tiny_config(model).read_text())
        for name, changes in sections.items():
            data[name] = {**data[name], **changes}
        host = Host()
        plan = make_plan(check(data, host, "mine.toml"), host)
        store = Store(tmp_path / "store")
        store.prepare()
        return {arm.strategy or arm.distiller or "untrained": arm for arm in plan.arms}, store

    return make


def refused(store, stage, words):
    with pytest.raises(NonFiniteError, match=words) as caught:
        store.make(stage)
    assert not store.has(stage)
    return str(caught.value)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_teacher_that_overflows_stops_at_its_first_row(stages, overflowing, temperature):
    options = {"model": str(overflowing), "batch_size": 3, "dtype": "float16"}
    arms, store = stages(overflowing, teacher={"options": options}, transfer={"temperature": temperature})
    sentence = refused(
        store, arms["teacher"].transfer, r"teacher's logits for 'transfer-\d+, answer 1' .* at token 1\."
    )
    assert "float16 overflows above 65,504" in sentence


def test_a_student_that_overflows_stops_at_its_first_logit(stages, overflowing):
    arms, store = stages(overflowing, student={"model": str(overflowing), "dtype": "float16"})
    refused(store, arms["untrained"].evaluate, r"logits are NaN or infinite at token 1 of an answer")


def test_a_training_that_overflows_is_a_result_that_names_the_step(stages, overflowing):
    from kdprobe.experiment.stages.distill import diverged

    arms, store = stages(overflowing, distill={"name": "sequence", "dtype": "float16"})
    stage = arms["fine-tune"].distill
    assert store.make(stage)
    found = diverged(store.folder(stage))
    assert (found["step"], found["reason"]) == (1, "The loss is nan at training step 1.")
    assert "use bfloat16 or float32" in found["hint"]
    assert not store.make(stage)


@pytest.mark.parametrize("distiller", ["logits", "sequence"])
def test_a_training_that_diverges_names_the_step(train_context, distiller):
    from kdprobe.host.registry import Host

    trainer = Host().create("distillers", distiller, {"learning_rate": 1e36, "batch_size": 2, "epochs": 1})
    with pytest.raises(NonFiniteError, match=r"is (nan|inf) at training step 2\. Lower the learning rate"):
        trainer.train(train_context({"responses"}, (1.0,)))


def test_a_validation_that_is_not_finite_names_the_step(train_context):
    from kdprobe.host.registry import Host

    options = {"learning_rate": 1e36, "batch_size": 8, "epochs": 1, "validation": 0.5}
    trainer = Host().create("distillers", "sequence", options)
    with pytest.raises(NonFiniteError, match=r"is (nan|inf) during validation after step 1\."):
        trainer.train(train_context({"responses"}, (1.0,)))


def test_a_student_that_the_last_step_spoilt_is_found(train_context):
    """No loss is taken after the last step, and its weights may be finite while its logits are not."""
    from kdprobe.host.registry import Host

    options = {"learning_rate": 1e20, "batch_size": 8, "epochs": 1}
    trainer = Host().create("distillers", "sequence", options)
    with pytest.raises(NonFiniteError, match=r"The loss is nan after 1 training step\.") as caught:
        trainer.train(train_context({"responses"}, (1.0,)))
    assert caught.value.step == 1


def test_what_any_distiller_leaves_is_checked(torch, tmp_path):
    from safetensors.torch import save_file

    from kdprobe.distill.distiller import Trained, refuse_diverged

    sound = Trained(tmp_path, [{"step": 1, "loss": 2.0}], adapter_norm=1.0)
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "adapter_model.safetensors")
    refuse_diverged(sound)
    with pytest.raises(NonFiniteError, match=r"weights are NaN or infinite after the last step \(step 1\)"):
        refuse_diverged(Trained(tmp_path, sound.history, adapter_norm=float("nan")))
    with pytest.raises(NonFiniteError, match=r"The loss is inf at training step 2"):
        refuse_diverged(Trained(tmp_path, [*sound.history, {"step": 2, "loss": float("inf")}], adapter_norm=1.0))
    save_file({"a": torch.ones(2), "b": torch.tensor([1.0, torch.inf])}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(NonFiniteError, match=r"weights are NaN or infinite after the last step \(step 1\)"):
        refuse_diverged(sound)


def test_a_passage_whose_log_probability_is_not_finite_is_named(overflowing, problems, torch):
    from kdprobe.evaluation.likelihood import gold_log_probabilities, gold_sequences
    from kdprobe.models.load import load
    from kdprobe.models.reference import resolve

    student = load(resolve(str(overflowing)), dtype="float16")
    with pytest.raises(NonFiniteError, match=r"the passage 'p\d' are NaN or infinite"):
        gold_log_probabilities(student, gold_sequences(student, problems), batch_size=2, label="")


def test_attention_that_is_not_finite_is_refused_and_padding_may_hold_anything(torch):
    from kdprobe.probing.patterns.real_keys import over_real_keys

    pattern = torch.eye(3).expand(2, 4, 3, 3).clone()
    real = torch.tensor([[True, True, True], [True, True, False]])
    pattern[1, :, 2] = torch.nan
    assert over_real_keys(pattern, real)[1] is None
    pattern[0, 2, 1, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="attention of a layer"):
        over_real_keys(pattern, real)


def test_tokens_that_a_model_rules_out_are_legitimate(torch):
    """A logit of -inf is a probability of zero: in the top k, in the tail, and where scores are checked."""
    from kdprobe.evaluation.shrinking_batch import refuse_non_finite
    from kdprobe.teachers.top_k_capture import TopKCapture

    logits = torch.full((2, 8), -torch.inf)
    logits[:, :3] = torch.tensor([1.0, 2.0, 3.0])
    refuse_non_finite(logits, 1)
    capture = TopKCapture(5, 8, (1.0,), names=["a", "b"])
    capture(torch.zeros(2, 1, dtype=torch.long), logits)
    capture.finish(torch.zeros(2, 2, dtype=torch.long))
    rows = capture.rows(0, 1)
    assert np.isfinite(rows.logprobs[0, :3]).all()
    assert (rows.logprobs[0, 3:] == -np.inf).all()
    assert rows.tail_logmass[1.0][0] == -np.inf
    for broken in (torch.nan, torch.inf):
        wrong = logits.clone()
        wrong[1, 6] = broken
        with pytest.raises(NonFiniteError):
            refuse_non_finite(wrong, 1)
        with pytest.raises(NonFiniteError, match="for 'b' are NaN or infinite at token 1"):
            TopKCapture(5, 8, (1.0,), names=["a", "b"])(torch.zeros(2, 1, dtype=torch.long), wrong)
    with pytest.raises(NonFiniteError):
        refuse_non_finite(torch.full((1, 8), -torch.inf), 1)


def test_what_follows_the_end_of_an_answer_may_hold_anything(torch):
    from kdprobe.teachers.top_k_capture import TopKCapture

    capture = TopKCapture(2, 8, (1.0,), ends=frozenset({7}), names=["a", "b"])
    logits = torch.zeros(2, 8)
    capture(torch.tensor([[1], [1]]), logits)
    ended = torch.tensor([[1, 7], [1, 2]])
    wrong = logits.clone()
    wrong[0] = torch.nan
    capture(ended, wrong)
    # The first sequence stays ended, whatever pads it.
    capture(torch.tensor([[1, 7, 0], [1, 2, 3]]), wrong)
    wrong[1, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="for 'b' are NaN or infinite at token 4"):
        capture(torch.tensor([[1, 7, 0, 0], [1, 2, 3, 3]]), wrong)


@pytest.mark.parametrize(("where", "value"), [("logprobs", np.nan), ("token_logprobs", np.nan), ("tail", np.inf)])
def test_rows_of_any_teacher_are_checked(where, value):
    from kdprobe.teachers.checking import checked
    from kdprobe.teachers.teacher import Request, Response, SparseRows

    logprobs = np.log(np.full((2, 3), 0.25))
    logprobs[1, 2] = -np.inf
    columns = {"logprobs": logprobs, "token_logprobs": logprobs[:, 0].copy(), "tail": np.array([-1.4, -np.inf])}

    def answer():
        rows = SparseRows(
            np.arange(6).reshape(2, 3), columns["logprobs"], {1.0: columns["tail"]}, columns["token_logprobs"]
        )
        return Response("p", "4", np.array([1, 2]), finished=True, rows=rows)

    requests = [Request("p", [])]
    assert len(list(checked(requests, [answer()]))) == 1
    columns[where].flat[-1] = value
    with pytest.raises(NonFiniteError, match="for 'p' are NaN or infinite at token 2"):
        list(checked(requests, [answer()]))


def test_prompts_that_lm_eval_would_cut_are_refused(tiny_model, tmp_path, problems):
    import shutil

    from kdprobe.errors import KdprobeError
    from kdprobe.evaluation.lm_eval_run import evaluate
    from kdprobe.evaluation.protocol import Protocol
    from kdprobe.models.load import load
    from kdprobe.models.reference import resolve

    short = shutil.copytree(tiny_model, tmp_path / "short")
    settings = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 24}))
    with pytest.raises(
        KdprobeError, match=rf"{len(problems)} of {len(problems)} prompts leave no room for 8 new tokens"
    ):
        evaluate(load(resolve(str(short))), problems, Protocol(max_new_tokens=8, batch_size=2), label="")
