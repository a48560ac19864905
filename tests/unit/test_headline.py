"""The headline of a page."""

from dataclasses import replace

import numpy as np
import pytest

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import NO_ANSWERS, Arm
from kdprobe.comparison.compare import compare
from kdprobe.problems.extractors import Published, Robust
from kdprobe.report.facts import Concern, concerned
from kdprobe.report.headline import headline


def arm(name, right, strategy="name", groups=None, **fields):
    """An arm that is right on the given problems."""
    answers = ["The answer is 7." if each else "The answer is 8." for each in right]
    ids = list(map(str, range(len(answers))))
    outputs = Outputs(file=name, responses=answers, gold=["7"] * len(answers), ids=ids, groups=groups)
    return Arm(name, outputs, name if strategy == "name" else strategy, "logits", **fields)


def said(*arms):
    return headline(compare(arms, {"robust": Robust()}))


def test_a_difference_is_said_with_its_interval():
    primed, unprimed = np.arange(80) < 50, np.arange(80) < 30
    answer = said(arm("unprimed", unprimed, unprimed=True), arm("steps", primed))
    assert answer.shown
    assert answer.pair == ("steps", "unprimed")
    assert answer.sentence.startswith("Priming with steps: +25.0 points over unprimed (95% CI +1")
    assert answer.rest == []


def test_a_loss_is_not_over_anything():
    answer = said(arm("unprimed", np.arange(80) < 50, unprimed=True), arm("steps", np.arange(80) < 30))
    assert answer.sentence.startswith("Priming with steps: -25.0 points compared with unprimed (95% CI -3")


def test_no_difference_says_what_could_have_been_shown():
    right = np.arange(80) < 40
    other = right.copy()
    other[:8] = False
    other[40:49] = True
    compared = compare([arm("unprimed", right, unprimed=True), arm("steps", other)], {"robust": Robust()})
    answer = headline(compared)
    detectable = compared.pairs[0].detectable
    assert not answer.shown
    assert answer.sentence.startswith("No significant difference between steps and unprimed: +1.2 points (95% CI ")
    assert answer.rest == [
        f"With 80 problems, the comparison could have detected a difference of {detectable * 100:.1f} points."
    ]


def test_too_few_disagreements_are_said():
    right = np.arange(80) < 40
    other = right.copy()
    other[0] = False
    answer = said(arm("unprimed", right, unprimed=True), arm("steps", other))
    few = "1 disagreement is too few to show a difference."
    assert answer.rest == [f"steps and unprimed agree on 79 of 80 problems; {few}"]


def test_the_largest_of_several_differences_stands_first_and_the_others_below():
    small, large, none = np.arange(80) < 45, np.arange(80) < 60, np.arange(80) < 30
    answer = said(
        arm("unprimed", none, unprimed=True), arm("small", small), arm("large", large), arm("same", none.copy())
    )
    assert answer.sentence.startswith("Priming with large: +37.5 points over unprimed")
    assert answer.rest[0].startswith("Priming with small: +18.8 points over unprimed")
    assert (
        answer.rest[1]
        == "Priming with same: no significant difference from unprimed (+0.0 points, 95% CI -3.4 to +3.4)."
    )


def test_without_a_difference_the_largest_estimate_is_named():
    plain, other, worse = np.arange(80) < 40, np.arange(80) < 41, np.arange(80) < 38
    answer = said(arm("unprimed", plain, unprimed=True), arm("other", other), arm("worse", worse))
    assert not answer.shown
    assert answer.pair == ("worse", "unprimed")
    assert answer.sentence.startswith(
        "No significant difference in 2 comparisons. The largest estimate is -2.5 points, for priming with worse "
        "compared with unprimed ("
    )


def test_strategies_over_seeds_are_what_the_sentence_is_about():
    arms = []
    for seed in range(3):
        draw = np.random.default_rng(seed).random(80)
        arms.append(arm(f"unprimed@{seed}", draw < 0.2, "unprimed", seed=seed, unprimed=True))
        arms.append(arm(f"steps@{seed}", draw < 0.8, "steps", seed=seed))
    answer = said(*arms)
    assert answer.sentence.startswith("Priming with steps: +")
    assert " over unprimed (" in answer.sentence
    assert answer.pair == ("steps@0", "unprimed@0")
    assert [side.arms for side in answer.sides] == [
        [f"{name}@{seed}" for seed in range(3)] for name in ("steps", "unprimed")
    ]


def test_without_a_plan_the_sentence_names_the_arms():
    answer = said(arm("b", np.arange(80) < 50, None), arm("a", np.arange(80) < 30, None))
    assert answer.sentence.startswith("b: +25.0 points over a (")


def test_without_priming_the_sentence_is_about_distilling():
    untrained = Arm("untrained", arm("untrained", np.arange(80) < 30).outputs)
    answer = said(untrained, arm("plain", np.arange(80) < 50, unprimed=True))
    assert answer.sentence.startswith("plain: +25.0 points over untrained (")


def test_of_a_single_model_the_sentence_is_its_accuracy():
    answer = said(Arm("a", arm("a", np.arange(8) < 3).outputs))
    assert answer.sentence == "a solves 3 of 8 problems: 37.5% (95% CI 13.7 to 69.4%)."
    assert (answer.shown, answer.rest, answer.pair) == (False, [], None)
    one = said(Arm("a", arm("a", np.arange(1) < 1).outputs))
    assert one.sentence == "a solves 1 of 1 problem: 100.0% (95% CI 20.7 to 100.0%)."


def test_a_single_arm_that_is_left_has_nothing_to_be_compared_with():
    lost = Arm("b", NO_ANSWERS, absent="diverged")
    assert said(arm("a", np.arange(8) < 3), lost).sentence == "Nothing to compare: only one arm has answers."


def by_template(better, templates):
    """The headline for a student that also solves the given problems; the other one solves every second problem."""
    unprimed = np.arange(80) % 2 == 0
    groups = [f"t{index}" for index in np.arange(80) * templates // 80]
    primed = arm("steps", unprimed | better, groups=groups)
    return said(arm("unprimed", unprimed, groups=groups, unprimed=True), primed)


def test_without_templates_nothing_is_said_of_them():
    assert said(arm("unprimed", np.arange(80) < 30, unprimed=True), arm("steps", np.arange(80) < 50)).by_template == ""


def test_a_difference_in_few_templates_is_not_shown_for_others():
    answer = by_template(np.arange(80) < 40, 4)
    assert answer.shown
    assert answer.by_template.startswith(
        "The difference has been shown for these students on problems from these 4 templates (p = 2e-06), but not for "
        "other kinds of problem: with templates as the sampling units, it is not significant (95% CI "
    )
    assert answer.by_template.endswith(
        "unadjusted p = 0.50; the two differ on too few templates for p to be below 0.50). With fewer than three "
        "seeds, the difference has not been shown for the strategies either."
    )


def test_a_difference_in_many_templates_also_holds_for_others():
    answer = by_template(np.arange(80) % 8 < 4, 10)
    assert answer.by_template.startswith(
        "The difference also holds when templates rather than problems are the sampling units (10 templates: 95% CI "
    )
    assert answer.by_template.endswith("unadjusted p = 0.002), so it generalises to other templates like these.")


def test_no_difference_is_none_by_template_either():
    answer = by_template(np.arange(80) < 2, 10)
    assert not answer.shown
    assert answer.by_template.endswith("), the difference is not significant either.")


def test_findings_say_whether_they_concern_the_headline():
    def told(strange):
        """The finding if another extractor reads one arm's answers differently."""
        arms = [arm("unprimed", np.arange(80) < 30, unprimed=True), arm("steps", np.arange(80) < 60)]
        arms.append(arm("polite", np.arange(80) < 32))
        outputs = next(each.outputs for each in arms if each.name == strange)
        # Published takes the only number of the first line, Robust the marked one.
        outputs.responses[:] = [f"{15 - int(text[-2])}\n{text}" for text in outputs.responses]
        compared = compare(arms, {"robust": Robust(), "published": Published()})
        return concerned(compared, headline(compared))["extractor-disagreement"]

    assert told("steps") == Concern("This affects the comparison in the headline.", elsewhere=False)
    assert told("polite") == Concern("This does not affect the comparison in the headline.", elsewhere=True)


def test_p_by_extractor_is_called_unadjusted():
    """Here Holm's adjustment of two comparisons takes p from 0.03 to 0.06."""
    right = np.arange(80) < 30
    more, same = right.copy(), right.copy()
    more[30:36] = True
    arms = [arm("unprimed", right, unprimed=True), arm("steps", more), arm("polite", same)]
    # Published takes the only number of the first line, Robust the marked one.
    text = arms[1].outputs.responses
    text[30:32] = [f"8\n{each}" for each in text[30:32]]
    compared = compare(arms, {"robust": Robust(), "published": Published()})
    assert not any(pair.significant for pair in compared.pairs)
    [finding] = [each for each in compared.findings if each.code == "extractor-disagreement"]
    below = "steps - unprimed: unadjusted p is below 0.05 with the extractor 'robust' but not with 'published' ("
    assert below in finding.evidence


def test_an_accuracy_over_one_problem_has_no_interval():
    outputs = Outputs("a", ["The answer is 7.", "The answer is 8."], ["7", "7"], ["0", "0"], samples=[0, 1])
    answer = said(Arm("a", outputs))
    assert answer.sentence.startswith("a: mean accuracy 50.0% (too few problems for an interval), 2 answers, 2 samples")


@pytest.mark.parametrize(("many", "share", "elsewhere"), [(8, "10.0%", False), (4, "5.0%", True)])
def test_the_share_cut_off_is_said_of_the_headlines_arms(many, share, elsewhere):
    arms = [arm("unprimed", np.arange(80) < 30, unprimed=True), arm("steps", np.arange(80) < 60)]
    cut = [[True] * many + [False] * (80 - many), [False] * 80]
    known = [
        replace(each, outputs=replace(each.outputs, cut_off=values)) for each, values in zip(arms, cut, strict=True)
    ]
    compared = compare(known, {"robust": Robust()})
    assert concerned(compared, headline(compared)) == {
        "cut-off": Concern(f"In the comparison in the headline: unprimed {share}, steps 0.0%.", elsewhere)
    }
