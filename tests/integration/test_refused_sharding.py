"""Models that FSDP2 was asked to divide, and could not or would not divide rightly."""

import pytest

from kdprobe.errors import UsageError


@pytest.fixture
def divide(distil, monkeypatch):
    """Trains as if FSDP2 had been asked for, with an accelerate that found no GPU."""
    from kdprobe.distill.training import launch, trainer

    for module in (launch, trainer):
        monkeypatch.setattr(module, "is_sharded", lambda: True)
    monkeypatch.setattr(trainer, "refuse_launch", lambda _student: None)
    return lambda **lora: distil("fine-tune", lora=lora)


def test_whole_copies_do_not_silently_take_the_place_of_slices(divide):
    with pytest.raises(UsageError, match="divides models only among GPUs, but this process uses the device cpu"):
        divide()


@pytest.mark.parametrize("end", ["embed_tokens", "lm_head"])
def test_adapters_on_what_is_divided_otherwise_are_refused(end, divide):
    with pytest.raises(UsageError, match="does not train adapters on the embeddings or the output matrix"):
        divide(target_modules=["q_proj", end])
