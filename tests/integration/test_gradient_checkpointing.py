"""Training that computes activations again in the backward pass, against training that keeps them."""

import pytest

from architectures import ARCHITECTURES

CHECKPOINTED = {"gradient_checkpointing": True}


@pytest.mark.parametrize(
    "options",
    [
        {"lora": {"dropout": 0.3}},
        {"lora": {"dropout": 0.3, "dora": True, "target_modules": "all-linear"}},
        {"lora": {"rslora": True}, "batch_size": 1, "accumulation": 2, "validation": 0.4, "validation_steps": 1},
        {"lora": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}},
    ],
    ids=["dropout", "dora", "validated", "head"],
)
def test_layers_run_twice_and_the_adapter_is_the_same(options, distil, same_weights, monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaMLP

    runs, forward = [], LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, states: runs.append(self.training) or forward(self, states))
    kept = distil("logits", **options)
    once = sum(runs)
    runs.clear()
    again = distil("logits", **options, **CHECKPOINTED)
    assert sum(runs) == 2 * once > 0
    assert again.history == kept.history
    assert kept.adapter_norm > 1e-3
    assert same_weights(kept, again)


@pytest.mark.matrix
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_learns_the_same(architecture, distil, model_of, same_weights):
    known = {"student": model_of(architecture), "batch_size": 3, "lora": {"dropout": 0.3}, "max_steps": 1}
    kept, again = distil("fine-tune", **known), distil("fine-tune", **known, **CHECKPOINTED)
    assert kept.adapter_norm > 0
    assert same_weights(kept, again)


def test_it_is_part_of_a_trainings_key_only_when_on():
    from kdprobe.distill.options import TrainingOptions

    assert "gradient_checkpointing" not in TrainingOptions().model_dump()
    assert TrainingOptions(**CHECKPOINTED).model_dump()["gradient_checkpointing"] is True


def test_a_student_without_it_is_refused(tiny_record):
    from kdprobe.distill.training.recomputing import recompute_layers
    from kdprobe.errors import UsageError
    from kdprobe.models.load import load

    student = load(tiny_record)
    student.model.supports_gradient_checkpointing = False
    with pytest.raises(UsageError, match=r"does not implement it for the student .* \(llama\)"):
        recompute_layers(student)
