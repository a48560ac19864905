"""Confidence over generated answers, and association with correctness, against references."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from kdprobe.students.student import Student

ANSWERS = ("Tom has 5 apples.\n#### 5", "I count and count and count: 12", "", "9")


@pytest.fixture(scope="module")
def records(problems):
    return [
        {"id": problem.id, "response": text, "cut_off": place == 1, "correct": place % 2 == 0, "tokens": 7}
        for place, (problem, text) in enumerate(zip(problems, ANSWERS, strict=False))
    ]


@pytest.mark.parametrize("chunk_rows", [1, 3, 1000])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_confidence_is_that_of_full_logits(torch, tiny_record, problems, records, chunk_rows, batch_size, monkeypatch):
    from kdprobe.models import lm_head
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.probing.outputs import token_confidence as answers
    from kdprobe.strategies.prompt_pair import bare

    student = Student("tiny", tiny_record).load(dtype="float32")
    monkeypatch.setattr(lm_head, "CHUNK_BYTES", chunk_rows * 4 * len(student.tokenizer))
    found = answers.answer_confidence(student, problems[:4], records, batch_size=batch_size, label="")
    for problem, record, one in zip(problems, records, found, strict=False):
        prompt = prompt_ids(student.tokenizer, bare(problem))
        written = student.tokenizer(record["response"], add_special_tokens=False)["input_ids"]
        written += [] if record["cut_off"] else [student.tokenizer.eos_token_id]
        with torch.inference_mode():
            logits = student.model(torch.tensor([[*prompt, *written]])).logits[0].double().numpy()
        rows = logits[len(prompt) - 1 : -1]
        p = np.sort(softmax(rows, axis=-1), axis=-1)
        assert one.tokens == len(written) == len(rows)
        assert one.max_logit == pytest.approx(rows.max(axis=-1).mean(), abs=1e-4)
        assert one.max_probability == pytest.approx(p[:, -1].mean(), abs=1e-5)
        assert one.entropy == pytest.approx(entropy(p, axis=-1).mean(), abs=1e-4)
        assert one.margin == pytest.approx((p[:, -1] - p[:, -2]).mean(), abs=1e-5)


def test_analyses_with_scores_say_what_they_found(torch, tiny_record, problems, records):
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.metrics.metric import head_metrics_of

    host = Host()
    context = AnalysisContext(
        [Student("tiny", tiny_record)], problems[:4], records={"tiny": records}, head_metrics=head_metrics_of(host)
    )
    sure = run_analysis("confidence", host.create("analyses", "confidence"), context)
    assert list(sure.tables["answers"]["correct"]) == [True, False, True, False]
    row = sure.tables["confidence"].set_index("measure").loc["entropy"]
    # Surer means less entropy.
    right, wrong = (sure.tables["answers"].query(f"correct == {kind}")["entropy"].to_numpy() for kind in (True, False))
    assert row["auroc"] == pytest.approx((right[:, None] < wrong).mean())
    said = "of pairs of a correct and a wrong answer, the student is more confident in the correct one"
    assert said in sure.statements[0]
    assert "a different number of tokens" in sure.statements[-1]
    linked = run_analysis("association", host.create("analyses", "association", {"strata": 1}), context)
    assert "tiny (2 of 4 answers correct): no head's entropy is associated with correctness" in linked.statements[0]
    assert linked.tables["association"]["q"].between(0, 1).all()


def test_answers_that_are_all_wrong_tell_nothing_apart(torch, tiny_record, problems, records):
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.metrics.metric import head_metrics_of

    host = Host()
    wrong = [{**record, "correct": False} for record in records]
    context = AnalysisContext(
        [Student("tiny", tiny_record)], problems[:4], records={"tiny": wrong}, head_metrics=head_metrics_of(host)
    )
    sure = run_analysis("confidence", host.create("analyses", "confidence"), context)
    assert sure.statements[0] == (
        "tiny: all 4 answers are wrong, so confidence cannot be compared between correct and wrong answers."
    )
    linked = run_analysis("association", host.create("analyses", "association"), context)
    assert "so entropy cannot be tested for association" in linked.statements[0]
