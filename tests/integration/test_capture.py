import numpy as np
import pytest

from kdprobe.errors import KdprobeError
from kdprobe.transfer import transfer_set as codec


@pytest.fixture(scope="module")
def fresh_rows(torch, tiny_record, transfer_set, conversations):
    """Dense float64 log-probabilities from one forward pass per answer, without padding or cache."""
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load

    loaded = load(tiny_record)
    rows = {}
    for response in transfer_set.responses:
        prompt = prompt_ids(loaded.tokenizer, conversations[response.id].teacher)
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([[*prompt, *response.token_ids.tolist()]])).logits[0]
        rows[response.id] = logits[len(prompt) - 1 : -1].double()
    return rows


def test_every_problem_is_answered_in_order(transfer_set, problems):
    assert [response.id for response in transfer_set.responses] == [problem.id for problem in problems]
    assert all(1 <= len(response.token_ids) <= 8 for response in transfer_set.responses)
    assert len({tuple(response.token_ids.tolist()) for response in transfer_set.responses}) > 1


def test_top_k_and_tail_sum_to_one_at_temperature_one(transfer_set):
    for response in transfer_set.responses:
        rows = response.rows
        total = np.exp(rows.logprobs.astype(np.float64)).sum(-1) + np.exp(rows.tail_logmass[1.0].astype(np.float64))
        np.testing.assert_allclose(total, 1, atol=1e-5)


def test_captured_rows_are_those_of_a_fresh_forward_pass(torch, transfer_set, fresh_rows):
    for response in transfer_set.responses:
        dense = fresh_rows[response.id].log_softmax(-1)
        ids = torch.from_numpy(response.rows.ids).long()
        np.testing.assert_allclose(response.rows.logprobs, dense.gather(1, ids), atol=1e-4)
        written = dense.gather(1, torch.from_numpy(response.token_ids)[:, None])[:, 0]
        np.testing.assert_allclose(response.rows.token_logprobs, written, atol=1e-4)
        # Greedy: the written token is the most likely one.
        assert response.rows.ids[:, 0].tolist() == response.token_ids.tolist()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_tails_are_exact_at_every_planned_temperature(torch, transfer_set, fresh_rows, temperature):
    for response in transfer_set.responses:
        dense = (fresh_rows[response.id] / temperature).log_softmax(-1)
        outside = torch.ones_like(dense, dtype=torch.bool)
        outside.scatter_(1, torch.from_numpy(response.rows.ids).long(), value=False)
        tail = dense.masked_fill(~outside, -torch.inf).logsumexp(-1)
        np.testing.assert_allclose(response.rows.tail_logmass[temperature], tail, atol=1e-4)


def test_padded_batches_answer_as_single_problems_do(transfer_set, capture_set):
    single = capture_set(batch_size=1)
    for together, alone in zip(transfer_set.responses, single.responses, strict=True):
        assert (together.text, together.finished) == (alone.text, alone.finished)
        np.testing.assert_array_equal(together.token_ids, alone.token_ids)
        np.testing.assert_allclose(together.rows.token_logprobs, alone.rows.token_logprobs, atol=1e-4)


def test_sampling_repeats_with_its_seed_and_keeps_log_probabilities_at_temperature_one(
    torch, capture_set, tiny_record, conversations
):
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load

    def answers(seed):
        return [r.token_ids.tolist() for r in capture_set(temperature=1.5, top_p=0.9, seed=seed).responses]

    assert answers(1) == answers(1) != answers(2)
    first = capture_set(temperature=1.5, top_p=0.9, seed=1).responses[0]
    loaded = load(tiny_record)
    prompt = prompt_ids(loaded.tokenizer, conversations[first.id].teacher)
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([[*prompt, *first.token_ids.tolist()]])).logits[0, len(prompt) - 1 : -1]
    written = logits.log_softmax(-1).gather(1, torch.from_numpy(first.token_ids)[:, None])[:, 0]
    np.testing.assert_allclose(first.rows.token_logprobs, written, atol=1e-4)


def test_transfer_set_survives_writing_and_reading(transfer_set, tmp_path):
    codec.write(transfer_set, tmp_path)
    back = codec.read(tmp_path)
    assert back.vocabulary == transfer_set.vocabulary
    assert back.manifest["tokens"] == sum(len(response.token_ids) for response in transfer_set.responses)
    for ours, theirs in zip(back.responses, transfer_set.responses, strict=True):
        assert (ours.id, ours.text, ours.finished) == (theirs.id, theirs.text, theirs.finished)
        np.testing.assert_array_equal(ours.token_ids, theirs.token_ids)
        np.testing.assert_array_equal(ours.rows.ids, theirs.rows.ids)
        np.testing.assert_array_equal(ours.rows.logprobs, theirs.rows.logprobs.astype(np.float16))
        np.testing.assert_array_equal(ours.rows.token_logprobs, theirs.rows.token_logprobs)
        assert set(ours.rows.tail_logmass) == {1.0, 2.0}
        for temperature, tail in ours.rows.tail_logmass.items():
            np.testing.assert_array_equal(tail, theirs.rows.tail_logmass[temperature])


def test_a_damaged_transfer_set_is_refused(transfer_set, tmp_path):
    codec.write(transfer_set, tmp_path)
    file = tmp_path / codec.ROWS
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(KdprobeError, match="is damaged"):
        codec.read(tmp_path)


def test_a_transfer_set_without_manifest_is_refused(transfer_set, tmp_path):
    codec.write(transfer_set, tmp_path)
    (tmp_path / codec.MANIFEST).unlink()
    with pytest.raises(KdprobeError, match="holds no transfer set"):
        codec.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda r: r[1:], "unanswered"), (lambda r: [*r, r[0]], "twice")],
    ids=["missing", "doubled"],
)
def test_a_teacher_that_answers_otherwise_than_asked_is_refused(transfer_set, change, words):
    from kdprobe.teachers.teacher import Request, checked

    responses = list(transfer_set.responses)
    requests = [Request(response.id, []) for response in responses]
    with pytest.raises(KdprobeError, match=words):
        list(checked(requests, change(responses)))
    with pytest.raises(KdprobeError, match="without being asked"):
        list(checked(requests[1:], responses))


def test_fidelity_counts_what_the_teacher_left(transfer_set, problems, tmp_path):
    from kdprobe.transfer.fidelity import fidelity

    codec.write(transfer_set, tmp_path)
    figures = fidelity(codec.read(tmp_path), problems)
    lengths = [len(response.token_ids) for response in transfer_set.responses]
    kept = [np.exp(response.rows.logprobs.astype(np.float64)).sum(-1) for response in transfer_set.responses]
    assert figures.mean_tokens == pytest.approx(np.mean(lengths))
    assert figures.retained_mass == pytest.approx(np.concatenate(kept).mean(), abs=1e-5)
    assert figures.bytes_per_token == pytest.approx((tmp_path / codec.ROWS).stat().st_size / sum(lengths))


def test_a_folder_without_a_tokenizer_is_told_in_a_sentence(tiny_model, tmp_path):
    import shutil
    from pathlib import Path

    from kdprobe.errors import KdprobeError
    from kdprobe.models.load import load
    from kdprobe.models.reference import resolve

    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(tiny_model) / name, tmp_path / name)
    with pytest.raises(KdprobeError, match="tokenizer"):
        load(resolve(str(tmp_path)))
