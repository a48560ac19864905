"""A run's page: its contents before the script runs, and that text from models is never markup."""

import dataclasses
import re
from pathlib import Path

import pytest

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.compare import compare
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.integrity.checks import Checks
from kdprobe.experiment.results import AnalysisResults, Results
from kdprobe.problems.extractors import Robust
from kdprobe.report.facts import scope
from kdprobe.report.page import render
from kdprobe.report.prompt_diff import prompt_diffs, told
from kdprobe.report.terms import HEADS
from pages import data_of, text_of

PROMPTS = {
    "bare": "How many apples are left?",
    "steps": "Think in steps. How many apples are left?",
    "other": "How many pears remain?",
    "long": f"{' '.join(f'word-{n}9' for n in range(60))} How many apples are left?",
}
HOSTILE = "</script><img src=x onerror=alert(1)> \u202egnp.exe \x1b[31mred 7"


def page(count, analyses=(), **answers):
    """The page of a run of two students that answered this many problems."""
    outputs = Outputs(
        file="run/unprimed",
        responses=[answers.get("unprimed", "2 + 5 = 7")] * count,
        gold=["7"] * count,
        ids=[str(n) for n in range(count)],
        questions=[answers.get("question", "q")] * count,
        log_p_gold_value=[-1.0 - n / 10 for n in range(count)],
    )
    other = dataclasses.replace(
        outputs, responses=[answers.get("primed", "2 + 5 = 8")] * count, log_p_gold_value=[-2.0] * count
    )
    arms = [
        Arm("unprimed", outputs, "unprimed", "logits", unprimed=True),
        Arm(answers.get("name", "primed"), other, "teacher", "logits"),
    ]
    empty = {field.name: None for field in dataclasses.fields(ArmResults)}
    held = [
        ArmResults(**{**empty, "name": arm.name, "strategy": arm.strategy, "seed": 0, "file": Path("x")})
        for arm in arms
    ]
    problems = [{"id": str(n), "question": "q", "solution": "s", "value": "7", "group": None} for n in range(count)]
    provenance = {key: {} for key in ("student", "plugins", "environment", "config", "seconds")}
    record = {"problems": {"test": problems, "transfer": []}, "conversations": {}, **provenance}
    record["config"] = answers.get("config", {})
    record |= {"finished": answers["finished"]} if "finished" in answers else {}
    results = Results("run", Path(), record, held, list(analyses), Checks())
    return render(results, compare(arms, {"robust": Robust()}), arms)


def test_a_single_problem_has_too_few_values_for_intervals():
    text = text_of(page(1))
    assert "-1.00 (no interval)" in text.replace("( no interval )", "(no interval)")
    assert "100.0% too few problems" in text
    assert "-100.0 points (too few problems)" in text.replace("( too few problems )", "(too few problems)")
    assert re.search(r"\bnan\b", text) is None


def test_several_problems_have_intervals():
    text = text_of(page(12))
    assert "too few" not in text
    assert re.search(r"12 of 12 100\.0% 75\.8 to 100\.0%", text)


def test_first_screen_says_what_came_out_and_about_what():
    text = text_of(page(12))
    start = text.index("Did the way")
    assert text[start:].startswith(
        "Did the way the teacher was prompted make a better student? Points are percentage points of the students' "
        "accuracy. “teacher” is a prompt given to the teacher; “unprimed” is the bare question. Priming with primed: "
        "-100.0 points compared with "
    )
    assert "Scope: a single seed, so results apply to these students, not to the strategies." in text


def test_an_arm_without_steps_has_no_share_of_correct_ones():
    text = text_of(page(12, unprimed="7"))
    assert re.search(r"unprimed 0 n/a n/a 100%", text)


@pytest.mark.parametrize("reach", [[], ["All 3 test problems come from 2 templates."]])
def test_the_scope_is_one_sentence(reach):
    arms = [Arm(name, Outputs("", ["7"], ["7"], ["0"]), name, "logits") for name in ("a", "b")]
    several = [*arms, dataclasses.replace(arms[0], name="a@1", seed=1)]
    these = "results apply to these students, not to the strategies"
    end = ["all 3 test problems come from 2 templates"] if reach else []
    assert scope(compare(arms, {"robust": Robust()}), reach) == [f"a single seed, so {these}", *end]
    assert scope(compare(several, {"robust": Robust()}), reach) == [f"2 seeds, but {these}", *end]


def test_first_screen_says_how_each_student_was_taught_and_what_decides():
    text = text_of(page(12))
    assert "student taught by student's accuracy on the test problems unprimed the teacher 100.0%" in text
    assert (
        "What made the difference: 0 problems were solved only by 'primed', and 12 only by 'unprimed'. Of the 12 "
        "solved only by 'unprimed', the two" in text
    )
    assert "where log p(gold value) differs most: 0 “q” : the gold value is 7; primed answers 8 (wrong)" in text


def test_columns_that_are_unknown_for_all_are_left_out():
    text = text_of(page(12))
    assert "95% interval log p(gold value)" in text
    assert "cut off" not in text[text.index("All numbers") : text.index("Terms kdprobe")]
    assert "unknown" not in text[: text.index("Terms kdprobe")]


@pytest.mark.parametrize(
    ("texts", "said"), [("own", "it answered the"), ("gold", "it only scored existing answers to the")]
)
def test_what_the_teacher_did_with_the_training_problems_is_said(texts, said, monkeypatch):
    shown = {"arms": [], "pair": None, "answers": {"problems": [], "arms": []}, "note": ""}
    monkeypatch.setattr("kdprobe.report.page.teacher_answers", lambda *_: shown)
    text = text_of(page(12, config={"transfer": {"texts": texts}}))
    assert f"The teacher was not given these problems; {said} problems that the students were trained on." in text


def test_first_screen_says_when_the_run_finished_if_that_is_known():
    made = page(3, finished="2026-02-03T23:59:58+00:00")
    assert "Seeds 1 seed (0) Finished 2026-02-03 (UTC) Run run" in text_of(made)
    assert "- Finished: 2026-02-03 (UTC)" in data_of(made)["summary"]
    assert "Finished" not in text_of(page(3))


def test_moved_is_defined_for_measures_without_a_test_too():
    """The divergence of attention, and a single prompt, have none."""
    assert "(and significantly, if tested)" in HEADS["moved"].meaning


@pytest.mark.parametrize("where", ["unprimed", "question", "name"])
def test_text_of_models_is_no_markup_and_reaches_the_script_whole(where):
    made = page(3, **{where: HOSTILE})
    assert "<img" not in made
    assert "\x1b" not in made
    assert made.count("</script>") == 3, "one for each of the page's own scripts"
    shown = data_of(made)
    texts = {
        "unprimed": shown["answers"]["arms"][0][0]["text"],
        "question": shown["answers"]["problems"][0]["question"],
        "name": shown["arms"][1]["name"],
    }
    # What cannot be seen is shown as such; the rest is as it was written.
    assert texts[where] == "</script><img src=x onerror=alert(1)> \ufffdgnp.exe \ufffd[31mred 7"


@pytest.mark.parametrize(("kind", "whole"), [("scatter", False), ("heatmap", False), ("scatter3d", True)])
def test_page_has_as_much_of_plotly_as_its_figures_need(kind, whole):
    figure = {"title": "t", "caption": "c", "plotly": {"data": [{"type": kind}], "layout": {}}}
    size = len(page(3, [AnalysisResults("mine", [figure], [], {})]))
    assert (size > 1_500_000) is whole


def test_page_without_figures_has_no_plotly():
    assert len(page(3)) < 100_000


def test_a_prompt_is_told_by_what_it_adds():
    messages = {name: [{"role": "user", "content": text}] for name, text in PROMPTS.items()}
    conversations = {name: {"teacher": read, "student": messages["bare"]} for name, read in messages.items()}
    parts = prompt_diffs(conversations, "bare")
    assert told(parts["bare"]) == ("the bare question", "")
    assert told(parts["steps"]) == ("the question and", "\u201cThink in steps.\u201d")
    assert told(parts["other"])[0] == "a reworded prompt, with"
    assert told([("same", "How many? "), ("left out", "Think.")]) == ("a shortened prompt", "")
    lead, quoted = told(parts["long"])
    assert (lead, len(quoted) < 250, quoted[-4:]) == ("the question and", True, "9 \u2026\u201d")


def test_terms_are_linked_where_they_are_used_first_and_each_link_has_a_definition():
    statements = ["It fell by 2 nats, then by 3 nats.", "Here 4 nats & <b>5 nats</b>; annats are no nats."]
    made = page(12, [AnalysisResults("mine", [], statements, {})])
    shown = made[made.index("Analysis: mine") :]
    shown = re.sub(r'<a class="term" href="#(term-[a-z-]+)" title="[^"]*">([^<]*)</a>', r"[\2](\1)", shown)
    assert "<li>It fell by 2 [nats](term-nats), then by 3 nats.</li>" in shown
    assert "<li>Here 4 nats &amp; &lt;b&gt;5 nats&lt;/b&gt;; annats are no nats.</li>" in shown
    links, terms = (set(re.findall(pattern, made)) for pattern in (r'href="#(term-[^"]*)"', r'<dt id="([^"]*)"'))
    assert {"term-nats", "term-interval", "term-log-p", "term-p"} <= links <= terms


def test_terms_that_the_page_does_not_use_are_left_out():
    terms = re.findall(r'<dt id="term-([^"]+)">', page(12))
    assert {"arm", "seed", "mcnemar", "holm", "log-p"} <= set(terms)
    # There are no templates, nothing is known of cut-offs, and no heads were examined.
    assert not {"template", "cut-off", "head", "ablation"} & set(terms)
