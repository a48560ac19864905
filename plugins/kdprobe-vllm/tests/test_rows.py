"""How distributions come from vLLM's processes, and the check of a teacher's numbers; without vLLM."""

import numpy as np
import pytest

from kdprobe import KdprobeError, UsageError
from kdprobe.models import resolve, resolve_adapter
from kdprobe.testing import write_random_adapter
from kdprobe_vllm.check import short_conversation
from kdprobe_vllm.lora import teacher_needs
from kdprobe_vllm.rows import read_records, record_type, sparse_rows
from kdprobe_vllm.teacher_check import TeacherNumbers, refuse_other_numbers, teacher_numbers

K, TEMPERATURES = 2, (1.0, 2.0)


def records(*positions, **columns):
    """Records of `(request, position, first id)`."""
    made = np.zeros(len(positions), record_type(K, len(TEMPERATURES)))
    for record, (request, position, first) in zip(made, positions, strict=True):
        record["request"], record["position"], record["ids"] = request, position, (first, 99)
    for name, value in columns.items():
        made[name] = value
    return made


def test_records_are_those_of_each_request_and_the_last_of_each_position(tmp_path):
    file = tmp_path / "rows"
    # Request 1 is read in two pieces, and request 0 is read again after its second token.
    written = records((0, 0, 10), (1, 0, 20), (0, 1, 11), (1, 0, 21), (0, 1, 12), (1, 1, 22), (0, 2, 13))
    file.write_bytes(written.tobytes())
    first, second = read_records(file, [2, 2], K, 2)
    assert first["ids"][:, 0].tolist() == [10, 12]
    assert second["ids"][:, 0].tolist() == [21, 22]
    for lengths in ([4, 2], [3, 3], [3, 2, 1]):
        with pytest.raises(KdprobeError, match="did not report its distribution at every token"):
            read_records(file, lengths, K, 2)
    file.write_bytes(written.tobytes()[:-1])
    with pytest.raises(KdprobeError, match="did not report"):
        read_records(file, [2, 2], K, 2)


def test_log_probabilities_are_those_among_real_tokens():
    half = float(np.log(0.5))
    made = records((0, 0, 7), (0, 1, 8), real=half, logprobs=(-0.5, -2.0), tails=(-1.5, -0.7))
    # Half of the mass is on ids that no token has, so that vLLM's own log-probabilities are too low by log 2.
    rows = sparse_rows(made, [7, 5], [-0.5 + half, -3.0 + half], TEMPERATURES)
    np.testing.assert_allclose(rows.token_logprobs, [-0.5, -3.0], rtol=1e-6)
    assert rows.tail_logmass[2.0].tolist() == pytest.approx([-0.7, -0.7])


def test_distributions_of_other_tokens_are_refused():
    made = records((0, 0, 7), (0, 1, 8), logprobs=(-0.5, -2.0))
    sparse_rows(made, [7, 5], [-0.5, -3.0], TEMPERATURES)
    with pytest.raises(KdprobeError, match=r"differs by 1\.5 nats"):
        sparse_rows(made, [7, 8], [-0.5, -2.0], TEMPERATURES)


def check(ask, expected, *, adapted=False):
    from kdprobe_vllm import teacher_check

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher_check, "short_conversation", lambda _tokenizer: [1, 2, 3])
        refuse_other_numbers(ask, None, expected, "float32", adapted=adapted)


def test_other_numbers_than_those_of_transformers_are_refused():
    check(lambda *_: [-1.0, -2.0], TeacherNumbers([-1.0, -2.0001], float("nan")))
    with pytest.raises(KdprobeError, match=r"differ from those of transformers by 0\.05 nats"):
        check(lambda *_: [-1.0, -2.0], TeacherNumbers([-1.0, -2.1], float("nan")))
    with pytest.raises(KdprobeError, match="by nan nats"):
        check(lambda *_: [float("nan"), -2.0], TeacherNumbers([-1.0, -2.0], float("nan")))


def test_an_adapter_that_vllm_may_have_ignored_is_refused():
    check(lambda *_: [-1.0, -2.0], TeacherNumbers([-1.0, -2.0001], 0.5), adapted=True)
    with pytest.raises(KdprobeError, match="too little to tell whether vLLM uses the adapter"):
        check(lambda *_: [-1.0, -2.0], TeacherNumbers([-1.0, -2.0001], 5e-5), adapted=True)
    # Without transformers, all that can be seen is whether it has an effect.
    check(lambda _ids, adapted: [-1.0 - adapted, -2.0], None, adapted=True)
    with pytest.raises(KdprobeError, match="the same with the teacher's adapter as without it"):
        check(lambda *_: [-1.0, -2.0], None, adapted=True)


def test_transformers_reads_the_teacher_with_its_adapter(tiny_model, tmp_path):
    from kdprobe.models import load_model, merge

    record = resolve(str(tiny_model))
    adapter = write_random_adapter(tiny_model, tmp_path / "adapter", size=0.3)
    plain, adapted = (teacher_numbers(record, each, "float32") for each in (None, adapter))
    loaded = merge(load_model(record, dtype="float32"), adapter)
    import torch

    ids = torch.tensor([short_conversation(loaded.tokenizer)])
    with torch.inference_mode():
        logits = loaded.model(ids).logits[0, :-1].double().log_softmax(-1)
    expected = logits.gather(1, ids[0, 1:, None])[:, 0]
    np.testing.assert_allclose(adapted.log_p, expected, atol=1e-5)
    assert adapted.effect == pytest.approx(np.abs(np.subtract(plain.log_p, adapted.log_p)).mean())


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_an_adapter_that_vllm_cannot_take_is_refused_before_anything_is_loaded(tiny_model, tmp_path):
    adapter = write_random_adapter(tiny_model, tmp_path / "adapter", target_modules=["q_proj", "lm_head"])
    with pytest.raises(UsageError, match=r"cannot use the adapter .*: it is not a plain LoRA\. Merge it"):
        teacher_needs(resolve_adapter(str(adapter)))
