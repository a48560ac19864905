from dataclasses import replace

from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.audit import audit, scope
from kdprobe.problems.problem import Problem


def arm(strategy, seed):
    return ArmResults(f"{strategy}@{seed}", strategy, "logits", seed, None, None, None, [], {}, None)


def record(transfer, test):
    """A run's record with these questions, each with its group."""

    def rows(pairs, part):
        return [Problem(f"{part}-{n}", text, "#### 1", "1", group).as_row() for n, (text, group) in enumerate(pairs)]

    return {"problems": {"transfer": rows(transfer, "transfer"), "test": rows(test, "test")}, "conversations": {}}


APART = record([("How many apples are left?", None)], [("What do three trains cost?", None)])


def codes(arms, known=APART):
    return {finding.code: finding.evidence for finding in audit(arms, known)}


def test_what_the_plan_found_is_found_again_but_for_the_seeds():
    planned = [
        {"code": code, "evidence": f"{code} as planned.", "action": "Change it."}
        for code in ("too-few-problems", "few-seeds", "question-left-out")
    ]
    arms = [arm(strategy, 0) for strategy in ("unprimed", "teacher")]
    assert codes(arms, {**APART, "findings": planned}) == {
        "single-seed": "2 strategies are compared, each with only 1 seed.",
        "too-few-problems": "too-few-problems as planned.",
        "question-left-out": "question-left-out as planned.",
    }


def test_strategies_need_three_seeds():
    def compared(*seeds):
        return codes([arm(strategy, seed) for strategy in ("unprimed", "teacher") for seed in seeds])

    assert compared(0) == {"single-seed": "2 strategies are compared, each with only 1 seed."}
    assert compared(0, 1) == {"few-seeds": "2 strategies are compared, each with only 2 seeds."}
    assert compared(0, 1, 2) == {}
    # One strategy alone is compared with none.
    assert codes([arm("unprimed", 0), arm(None, 0)]) == {}


def test_problems_that_were_trained_on_are_told_with_their_twins():
    asked = [(f"How much do {n} {what} cost at 3 dollars each?", None) for n, what in ((4, "hats"), (5, "oaks"))]
    found = codes([], record(asked, [*asked, ("What is left?", None)]))
    assert found["contamination"] == (
        "2 of 3 test problems overlap with transfer problems (2 exact): test-0 resembles transfer-0, "
        "test-1 resembles transfer-1."
    )


def test_likeness_within_a_template_is_scope_and_no_finding():
    transfer = [("How much do 4 hats cost at 3 dollars each?", "hats")]
    test = [("How much do 9 hats cost at 2 dollars each?", "hats"), ("What is left of an old tree?", "trees")]
    known = record(transfer, test)
    assert codes([], known) == {}
    (sentence,) = scope(known)
    assert sentence.startswith("1 of 2 test problems comes from 1 template that the students were also trained on, so ")
    (sentence,) = scope(record(transfer, [test[0]] * 3))
    assert sentence.startswith("All 3 test problems come from 1 template that")
    assert scope(APART) == []


def test_a_prompt_that_changed_between_training_and_test_is_shown_where_it_differs():
    def trained(name, form, tested):
        records = [{"correct": True, "conditions": {"prompt": {"form": tested}}}]
        training = {"adapter_norm": 1.0, "prompt_form": form}
        return replace(arm("none", 0), name=name, training=training, records=records)

    opening = "<|system|>Cutting knowledge date: December 2023. Today: "
    dated = [f"{opening}{day} Nov 2026<|user|>{{question}}<|assistant|>" for day in (24, 25)]
    known = APART | {"conversations": {"none": {"bare": True}}}
    assert codes([trained("none", dated[0], dated[0])], known) == {}
    evidence = codes([trained("none", *dated), trained("other", dated[1], dated[1])], known)["prompt-changed"]
    assert evidence.startswith("Prompts changed between training and test: none: trained on …")
    assert "24 Nov" in evidence
    assert "25 Nov" in evidence
    assert "other" not in evidence


def test_prompts_that_a_server_makes_in_another_way_are_counted():
    def taught(strategy, seed, **fidelity):
        return replace(arm(strategy, seed), fidelity={"responses": 4, **fidelity})

    same = taught("unprimed", 0, returned_prompts=4, prompts_unlike_template=0)
    other = taught("teacher", 0, returned_prompts=4, prompts_unlike_template=3)
    unknown = taught("other", 0)
    found = codes([same, other, replace(other, seed=1), unknown])["server-prompt"]
    assert found.endswith("the tokenizer's chat template does not produce: teacher 3 of 4.")
    assert "server-prompt" not in codes([same, unknown])
