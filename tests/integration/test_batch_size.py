"""The automatic batch size: the memory that a row takes, and the size that follows from it."""

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def tiny(torch, tiny_record):
    from kdprobe.models.load import load

    return load(tiny_record)


def test_a_row_takes_what_its_keys_and_values_take(torch, tiny):
    """Against the cache that decoding actually fills, and the model's shapes."""
    from kdprobe.evaluation.batch_size import row_bytes

    prompt, budget = list(range(5, 25)), 100
    taken = row_bytes(tiny, prompt, budget)
    out = tiny.model.generate(
        input_ids=torch.tensor([prompt]),
        max_new_tokens=budget,
        min_new_tokens=budget,
        do_sample=False,
        return_dict_in_generate=True,
    )
    filled = sum(part.nbytes for layer in out.past_key_values.layers for part in (layer.keys, layer.values))
    # Two layers of keys and values, two heads of eight numbers, four bytes each; the last token is not read again.
    assert filled == (20 + 100 - 1) * 2 * 2 * 2 * 8 * 4
    rest = 20 * (6 * 32 + 3 * 64) * 4 + 4 * 20**2 + 400 * 4 * 4
    assert taken == pytest.approx(filled + rest, rel=0.02)
    half = row_bytes(load_half(), prompt, budget)
    assert half < taken


def load_half():
    from kdprobe.models.load import LoadedModel
    from kdprobe.testing.models import TINY_LLAMA, random_llama

    return LoadedModel(random_llama(**TINY_LLAMA, vocab_size=400, dtype="bfloat16").eval(), None, None, "bfloat16")


FITTING = [(1000, 1319, 63), (1000, 193, 49), (1000, 192, 64), (1000, 64, 32), (1000, 32, 16), (1000, 3, 3)]
SCARCE = [(48, 1319, 48), (10, 25, 9), (1.2, 25, 1)]


@pytest.mark.parametrize(("rows_that_fit", "problems", "size"), [*FITTING, *SCARCE])
def test_the_size_is_what_fits_up_to_the_cap_in_equal_batches(rows_that_fit, problems, size, tiny, monkeypatch):
    from kdprobe.evaluation import batch_size

    prompts = [[5, 6, 7]] * problems
    row = batch_size.row_bytes(tiny, prompts[0], 50)
    # How much memory a machine has free cannot be arranged otherwise.
    monkeypatch.setattr(batch_size, "free_bytes", lambda _: int(row * rows_that_fit / 0.7) + 1)
    assert batch_size.plan_batches(tiny, prompts, 50).size == size


def test_what_does_not_fit_is_told(tiny, monkeypatch):
    from kdprobe.errors import KdprobeError
    from kdprobe.evaluation import batch_size

    monkeypatch.setattr(batch_size, "free_bytes", lambda _: 100)
    with pytest.raises(KdprobeError, match="One answer needs"):
        batch_size.plan_batches(tiny, [[5]], 50)


def test_a_containers_limit_counts(tmp_path):
    from kdprobe.evaluation.batch_size import _container_bytes, free_bytes

    (tmp_path / "memory.current").write_text("600\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert _container_bytes(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert _container_bytes(tmp_path) == _container_bytes(Path("/nowhere")) > 2**50
    import torch

    assert 2**20 < free_bytes(torch.device("cpu")) < 2**50
