import json

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
        # Rounded to steps of 1/256 nat.
        np.testing.assert_allclose(ours.rows.logprobs, theirs.rows.logprobs, atol=1 / 512 + 1e-6, rtol=0)
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
    with pytest.raises(KdprobeError, match="is not a transfer set"):
        codec.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda r: r[1:], "unanswered"), (lambda r: [*r, r[0]], "twice")],
    ids=["missing", "doubled"],
)
def test_a_teacher_that_answers_otherwise_than_asked_is_refused(transfer_set, change, words):
    from kdprobe.teachers.checking import checked
    from kdprobe.teachers.teacher import Request

    responses = list(transfer_set.responses)
    requests = [Request(response.id, []) for response in responses]
    with pytest.raises(KdprobeError, match=words):
        list(checked(requests, change(responses)))
    with pytest.raises(KdprobeError, match="although it was not requested"):
        list(checked(requests[1:], responses))


def test_fidelity_counts_what_the_teacher_left(transfer_set, problems, tmp_path):
    from kdprobe.transfer.fidelity import fidelity

    codec.write(transfer_set, tmp_path)
    figures = fidelity(codec.read(tmp_path), problems)
    lengths = [len(response.token_ids) for response in transfer_set.responses]
    assert figures.mean_tokens == pytest.approx(np.mean(lengths))
    assert figures.longest == max(lengths)
    assert figures.bytes_per_token == pytest.approx((tmp_path / codec.ROWS).stat().st_size / sum(lengths))
    assert figures.tokens_per_second == pytest.approx(sum(lengths) / transfer_set.manifest["seconds"])
    kept = np.concatenate([np.exp(r.rows.logprobs.astype(np.float64)).sum(-1) for r in transfer_set.responses])
    one, two = figures.retained
    assert (one.temperature, two.temperature) == (1.0, 2.0)
    assert one.mass == pytest.approx(kept.mean(), abs=1e-5)
    assert one.truncation_kl == pytest.approx(-np.log(kept).mean(), abs=1e-5)
    # Warmer, and more of the teacher lies outside.
    assert two.mass < one.mass
    assert two.truncation_kl > one.truncation_kl
    borders = [0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1]
    tails = 1 - kept
    assert one.tail_histogram[-2:] == tuple(
        int(((tails >= a) & (tails < b)).sum()) for a, b in [borders[-3:-1], borders[-2:]]
    )
    assert sum(one.tail_histogram) == sum(lengths)


def test_scoring_the_teachers_own_answers_gives_what_was_captured(transfer_set, score_set):
    scored = score_set(transfer_set.responses)
    for read, captured in zip(scored.responses, transfer_set.responses, strict=True):
        assert (read.id, read.text, read.finished) == (captured.id, captured.text, captured.finished)
        np.testing.assert_array_equal(read.rows.ids[:, 0], captured.rows.ids[:, 0])
        np.testing.assert_allclose(read.rows.logprobs, captured.rows.logprobs, atol=1e-4)
        np.testing.assert_allclose(read.rows.token_logprobs, captured.rows.token_logprobs, atol=1e-4)
        for temperature, tail in captured.rows.tail_logmass.items():
            np.testing.assert_allclose(read.rows.tail_logmass[temperature], tail, atol=1e-4)


def test_gold_solutions_are_scored_to_their_last_token(torch, score_set, problems, tiny_record, conversations):
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load
    from kdprobe.transfer.texts import gold_texts

    loaded = load(tiny_record)
    scored = score_set(gold_texts(problems, loaded.tokenizer))
    for problem, response in zip(problems, scored.responses, strict=True):
        prompt = prompt_ids(loaded.tokenizer, conversations[problem.id].teacher)
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([[*prompt, *response.token_ids.tolist()]])).logits[0]
        dense = logits[len(prompt) - 1 : -1].double().log_softmax(-1)
        written = dense.gather(1, torch.from_numpy(response.token_ids)[:, None])[:, 0]
        assert response.token_ids[-1] == loaded.tokenizer.eos_token_id
        np.testing.assert_allclose(response.rows.token_logprobs, written, atol=1e-4)


@pytest.mark.parametrize("inside", ["\u2028", "\u2029"])
def test_answers_in_a_file_may_contain_other_line_ends_than_the_files(tiny_record, problems, tmp_path, inside):
    """JSON allows them in a string, and most programs write them as they are."""
    from kdprobe.models.load import load_tokenizer
    from kdprobe.transfer.texts import file_texts

    text = f"One step.{inside}Another.\n#### 7"
    rows = [json.dumps({"id": problem.id, "response": text}, ensure_ascii=False) for problem in problems]
    (tmp_path / "answers.jsonl").write_text("\n".join(rows), encoding="utf-8")
    read = file_texts(tmp_path / "answers.jsonl", problems, load_tokenizer(tiny_record))
    assert [response.text for response in read] == [text] * len(problems)


def test_several_samples_are_several_answers_to_each_problem(capture_set, problems):
    taken = capture_set(samples=3, temperature=1.5, seed=3)
    assert [(r.id, r.sample) for r in taken.responses] == [(p.id, n) for p in problems for n in range(3)]
    assert len({tuple(r.token_ids.tolist()) for r in taken.responses}) > 2 * len(problems)
    # Alone in its batch, too, each sample of a problem has a seed of its own.
    single = capture_set(batch_size=1, samples=2, temperature=1.5, seed=3).responses
    assert all(a.token_ids.tolist() != b.token_ids.tolist() for a, b in zip(single[::2], single[1::2], strict=True))
    again = capture_set(samples=3, temperature=1.5, seed=3)
    assert [r.token_ids.tolist() for r in again.responses] == [r.token_ids.tolist() for r in taken.responses]


def test_a_killed_capture_asks_only_what_is_left_and_ends_the_same(capture_set, monkeypatch, tmp_path):
    from kdprobe.teachers.transformers_teacher import TransformersTeacher

    respond, asked = TransformersTeacher.respond, []

    def killed(self, requests, sampling):
        asked.append([request.id for request in requests])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return respond(self, requests, sampling)

    monkeypatch.setattr(TransformersTeacher, "respond", killed)
    options = {"batch_size": 2, "samples": 2, "temperature": 1.5, "seed": 5}
    with pytest.raises(KeyboardInterrupt):
        capture_set(scratch=tmp_path, **options)
    first, second = sorted(tmp_path.iterdir())
    assert (first.name[:10], second.name[:10]) == ("part-00000", "part-00001")
    # One bit of the second is not what it was.
    content = bytearray(second.read_bytes())
    content[100] ^= 1
    second.write_bytes(content)
    resumed = capture_set(scratch=tmp_path, **options)
    # The second part once more, and from the third on.
    assert asked[3:5] == asked[1:3]
    assert len(asked) == 3 + 5
    monkeypatch.undo()
    whole = capture_set(**options)
    for ours, theirs in zip(resumed.responses, whole.responses, strict=True):
        assert (ours.id, ours.sample, ours.text, ours.finished) == (
            theirs.id,
            theirs.sample,
            theirs.text,
            theirs.finished,
        )
        np.testing.assert_array_equal(ours.rows.tail_logmass[1.0], theirs.rows.tail_logmass[1.0])
        np.testing.assert_allclose(ours.rows.logprobs, theirs.rows.logprobs, atol=1 / 512 + 1e-6, rtol=0)


def test_a_teacher_that_cannot_score_is_told_so(transfer_set):
    from kdprobe.teachers.teacher import Sampling
    from kdprobe.transfer.capture import Setting, score

    class Mute:
        provenance, part_size = {}, 4

        def respond(self, requests, sampling):
            return iter(())

    with pytest.raises(KdprobeError, match="cannot score"):
        score(Mute(), transfer_set.responses, {}, Setting(Sampling(8), {"vocabulary": 400}))


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
