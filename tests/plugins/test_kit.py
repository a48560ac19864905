"""Every check of the test kit, against a plugin that violates the contract: the message says what is wrong."""

import random
import re
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from kdprobe import (
    AnalysisSpec,
    DistillerSpec,
    Extraction,
    ExtractorSpec,
    HeadMetricSpec,
    Problem,
    ProblemSourceSpec,
    PromptPair,
    StrategySpec,
    TeacherSpec,
    hookimpl,
)
from kdprobe.distill.distiller import Trained
from kdprobe.probing import AnalysisResult, Figure
from kdprobe.strategies import bare
from kdprobe.testing import (
    ContractError,
    check_analysis,
    check_distiller,
    check_extractor,
    check_head_metric,
    check_problem_source,
    check_strategy,
    check_teacher,
    host_with,
)
from kdprobe.testing.word_problems import telling_problems

HOOKS = {
    StrategySpec: "kdprobe_strategies",
    TeacherSpec: "kdprobe_teachers",
    DistillerSpec: "kdprobe_distillers",
    AnalysisSpec: "kdprobe_analyses",
    HeadMetricSpec: "kdprobe_head_metrics",
    ProblemSourceSpec: "kdprobe_problem_sources",
    ExtractorSpec: "kdprobe_extractors",
}


def host_of(spec, thing, **fields):
    """A host whose one plugin offers `thing` under the name `it`."""
    module = ModuleType("someones_plugin")
    offered = spec(name="it", summary="It", build=lambda _options: thing, **fields)
    setattr(module, HOOKS[spec], hookimpl(lambda: [offered]))
    return host_with(module)


def test_the_host_has_only_the_plugin_under_test():
    host = host_of(StrategySpec, lambda problem: PromptPair(bare(problem), bare(problem)))
    assert host.names("strategies") == ["it"]
    assert host.names("teachers") == []


def test_a_plugin_that_does_not_load_fails_the_test_with_its_traceback():
    with pytest.raises(ContractError, match=r"(?s)'no_such_module' is broken: It needs the module .*Traceback"):
        host_with("no_such_module")


def test_the_kit_imports_no_torch():
    code = "import sys, kdprobe.testing; sys.exit(bool({'torch', 'transformers', 'pandas'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def primed(problem):
    return [{"role": "user", "content": f"Think. {problem.question}"}]


def with_gold(problem):
    return [{"role": "user", "content": f"{problem.question} (Psst: {int(problem.value):,}.)"}]


def dice(problem):
    return [{"role": "user", "content": f"{random.random()} {problem.question}"}]


def no_question(_problem):
    return [{"role": "user", "content": "Think."}]


def last_is_assistant(problem):
    return [*primed(problem), {"role": "assistant", "content": "Let me see."}]


CALLS = count()
SHARED = [{"role": "user", "content": ""}]


def counting(problem):
    return [{"role": "user", "content": f"{next(CALLS)} {problem.question}"}]


def shares_its_list(problem):
    SHARED[0]["content"] += problem.question
    return SHARED


@pytest.mark.parametrize(
    ("render", "sentence"),
    [
        (lambda p: PromptPair(dice(p), bare(p)), "uses the global random generator"),
        (lambda p: PromptPair(counting(p), bare(p)), "is not pure: it renders problem 'p0' differently"),
        (lambda p: PromptPair(shares_its_list(p), bare(p)), "is not pure"),
        (lambda p: PromptPair(no_question(p), bare(p)), "does not contain the question of problem 'p0'"),
        (lambda p: PromptPair(last_is_assistant(p), bare(p)), "must end with a user message"),
        (lambda p: PromptPair(primed(p), []), "The student's prompt of 'it' must be messages"),
        (
            lambda p: PromptPair([{"role": "oracle", "content": p.question}], bare(p)),
            "The teacher's prompt of 'it' must be",
        ),
        (lambda p: (primed(p), bare(p)), "must return a PromptPair, not tuple"),
        (lambda p: p.no_such_field, "raises AttributeError on problem 'p0'"),
        (lambda p: PromptPair(primed(p), with_gold(p)), "contains the gold answer of problem 'telling-0'"),
        (
            lambda p: PromptPair(primed(p), [{"role": "user", "content": p.question + p.solution}]),
            "contains the gold answer",
        ),
    ],
    ids=[
        "dice",
        "counts",
        "shares",
        "no-question",
        "assistant",
        "empty",
        "role",
        "tuple",
        "raises",
        "gold",
        "solution",
    ],
)
def test_strategies(render, sentence):
    with pytest.raises(ContractError, match=sentence):
        check_strategy(host_of(StrategySpec, render), "it")


def test_a_strategy_that_is_built_otherwise_each_time_is_not_deterministic():
    module = ModuleType("someones_plugin")

    def build(_options):
        number = next(CALLS)
        return lambda p: PromptPair([{"role": "user", "content": f"{number} {p.question}"}], bare(p))

    module.kdprobe_strategies = hookimpl(lambda: [StrategySpec(name="it", summary="It", build=build)])
    with pytest.raises(ContractError, match="is not deterministic: when rebuilt"):
        check_strategy(host_with(module), "it")


SET_ORDER = """
from kdprobe import PromptPair, StrategySpec, hookimpl
from kdprobe.strategies import bare

HINTS = {f"Hint {number}." for number in range(12)}

def render(problem):
    print("aside")
    return PromptPair([{"role": "user", "content": f"{' '.join(HINTS)} {problem.question}"}], bare(problem))

@hookimpl
def kdprobe_strategies():
    yield StrategySpec(name="it", summary="It", build=lambda options: render)
"""


@pytest.mark.parametrize("order", ["HINTS", "sorted(HINTS)"])
def test_a_strategy_that_goes_through_a_set_differs_from_process_to_process(order, tmp_path, monkeypatch):
    module = "goes_through_a_set" if order == "HINTS" else "sorts_its_set"
    (tmp_path / f"{module}.py").write_text(SET_ORDER.replace("join(HINTS)", f"join({order})"))
    monkeypatch.syspath_prepend(tmp_path)
    if order == "HINTS":
        with pytest.raises(ContractError, match="renders problem 'p0' differently in a separate process"):
            check_strategy(host_with(module), "it")
    else:
        check_strategy(host_with(module), "it")


def test_a_strategy_may_show_the_gold_answer_if_it_says_so():
    check_strategy(host_of(StrategySpec, lambda p: PromptPair(primed(p), with_gold(p)), student_sees_gold=True), "it")


def test_the_teachers_side_may_hold_the_gold_answer():
    check_strategy(host_of(StrategySpec, lambda p: PromptPair(with_gold(p), bare(p))), "it")


class Spoilt:
    """The tiny teacher, with changes to its answers."""

    def __init__(self, teacher, spoil):
        self.teacher, self.spoil = teacher, spoil
        self.provenance, self.part_size = teacher.provenance, teacher.part_size

    def respond(self, requests, sampling):
        yield from self.spoil(list(self.teacher.respond(requests, sampling)))


def rows(**changes):
    """Corrupts the rows of every answer: each change is a function of the rows."""

    def spoil(answers):
        spoilt = [{name: change(answer.rows) for name, change in changes.items()} for answer in answers]
        return [replace(a, rows=replace(a.rows, **fields)) for a, fields in zip(answers, spoilt, strict=True)]

    return spoil


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda answers: answers[1:], "left problem 'p2' unanswered"),
        (lambda answers: [*answers, answers[0]], "answered problem .* twice"),
        (lambda answers: [replace(answers[0], id="other")], "answered problem 'other' although it was not requested"),
        (rows(logprobs=lambda r: r.logprobs - 0.1), "is not normalised: the top k and the tail sum to"),
        (rows(logprobs=lambda r: r.logprobs / np.log(2)), "is not normalised"),
        (rows(logprobs=lambda r: r.logprobs[:, ::-1]), "must be sorted, with the most probable token first"),
        (rows(logprobs=lambda r: np.exp(r.logprobs)), "must be natural logarithms"),
        (
            rows(logprobs=lambda r: np.full_like(r.logprobs, np.nan)),
            "are NaN or infinite at token 1",
        ),
        (rows(ids=lambda r: np.roll(r.ids, 1, axis=0)), "rows do not match their tokens"),
        (rows(ids=lambda r: np.zeros_like(r.ids)), "lists a token twice in one row"),
        (rows(token_logprobs=lambda r: r.token_logprobs + 0.5), "differ from rows.logprobs"),
        (rows(token_logprobs=lambda r: r.token_logprobs[:-1]), r"rows.token_logprobs must have shape \[8\], not \[7\]"),
        (rows(tail_logmass=lambda r: {1.0: r.tail_logmass[1.0]}), r"lacks tail_logmass\[2.0\]"),
        (lambda answers: [replace(a, token_ids=np.tile(a.token_ids, 9)) for a in answers], "more than the budget"),
        (lambda answers: [replace(a, text=None) for a in answers], "has no text"),
    ],
    ids=[
        *("missing", "twice", "unasked", "mass", "base-2", "order", "probabilities", "nan", "shifted", "same-ids"),
        *("token-logprobs", "short", "no-tail", "budget", "text"),
    ],
)
def test_teachers(spoil, sentence, tiny_teacher, torch):
    with pytest.raises(ContractError, match=sentence):
        check_teacher(host_of(TeacherSpec, Spoilt(tiny_teacher(), spoil)), "it", {})


class Rereads(Spoilt):
    """Scores given tokens like the tiny teacher, plus an added error."""

    def __init__(self, teacher, add=0.0, skip=0):
        super().__init__(teacher, list)
        self.record, self.add, self.skip = teacher.record, add, skip

    def score(self, passages, sampling):
        for id_, rows in self.teacher.score(passages[self.skip :], sampling):
            yield id_, replace(rows, token_logprobs=rows.token_logprobs + self.add)


def test_a_teacher_that_scores_its_own_answer_otherwise(tiny_teacher, torch):
    check_teacher(host_of(TeacherSpec, Rereads(tiny_teacher())), "it", {})
    with pytest.raises(ContractError, match=r"scores its own answer to 'p0' differently .* by 0.300 nats"):
        check_teacher(host_of(TeacherSpec, Rereads(tiny_teacher(), add=0.3)), "it", {})
    with pytest.raises(ContractError, match=r"scores .'p1', 'p2'. instead of .'p0', 'p1', 'p2'."):
        check_teacher(host_of(TeacherSpec, Rereads(tiny_teacher(), skip=1)), "it", {})


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("provenance", {"model": object()}, "must be serialisable as JSON"),
        ("provenance", {}, "is empty; it must list everything that determines the answers"),
        ("part_size", 0, "must be a positive integer or None, not 0"),
    ],
)
def test_a_teachers_books(field, value, sentence, tiny_teacher):
    teacher = Spoilt(tiny_teacher(), list)
    setattr(teacher, field, value)
    with pytest.raises(ContractError, match=sentence):
        check_teacher(host_of(TeacherSpec, teacher), "it", {})


def test_a_teacher_without_log_probabilities_is_fine(tiny_teacher, torch):
    teacher = Spoilt(tiny_teacher(), lambda answers: [replace(a, rows=None) for a in answers])
    assert len(check_teacher(host_of(TeacherSpec, teacher), "it", {})) == 3


class Trainer:
    """A scripted distiller."""

    def __init__(self, train, needs=(), temperatures=()):
        self.train, self.needs, self._temperatures = train, frozenset(needs), temperatures

    def temperatures(self):
        return self._temperatures


def saves(init, **books):
    """Saves an untrained adapter, initialised according to peft's `init_lora_weights`."""

    def train(context):
        from peft import LoraConfig, get_peft_model

        from kdprobe.models.load import load

        loaded = load(context.student, dtype="float32")
        config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=init, task_type="CAUSAL_LM")
        get_peft_model(loaded.model, config).save_pretrained(context.folder)
        known = {"adapter_norm": 1.0, "history": [{"step": 1, "loss": 2.0}]} | books
        return Trained(adapter=context.folder, **known)

    return train


def leaves_a_pickle(context):
    trained = saves(False)(context)
    (context.folder / "optimizer.pt").write_bytes(b"")
    return trained


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (saves(True), "does not change the student's logits"),
        (saves(False, adapter_norm=0.0), "reports an adapter_norm of 0.0"),
        (saves(False, adapter_norm=float("nan")), "reports an adapter_norm of nan"),
        (saves(False, history=[]), "returns no history"),
        (saves(False, history=[{"step": 1}]), "row 1 of the history has no finite `loss`"),
        (leaves_a_pickle, "wrote pickles"),
        (lambda context: context.folder, "must return Trained, not PosixPath"),
        (lambda context: Trained(context.folder, [{"loss": 1.0}], 1.0), "wrote no adapter to"),
        (lambda context: Trained(context.folder.parent, [{"loss": 1.0}], 1.0), "not to the context's folder"),
    ],
    ids=["unmoved", "norm", "nan", "history", "loss", "pickle", "type", "none", "elsewhere"],
)
def test_distillers(train, sentence, train_context, torch):
    with pytest.raises(ContractError, match=sentence):
        check_distiller(host_of(DistillerSpec, Trainer(train)), "it", None, train_context)


@pytest.mark.parametrize(
    ("trainer", "sentence"),
    [
        (
            Trainer(saves(False), needs=["oracle"]),
            "declares 1 unknown need: 'oracle'. Supported needs: responses, gold",
        ),
        (Trainer(saves(False), temperatures=(0.0,)), "must return a tuple of positive numbers"),
    ],
)
def test_what_a_distiller_asks_for(trainer, sentence, train_context):
    with pytest.raises(ContractError, match=sentence):
        check_distiller(host_of(DistillerSpec, trainer), "it", None, train_context)


def test_an_adapter_that_moved_is_fine_and_gets_only_what_it_needs(train_context, torch):
    contexts = []

    def train(context):
        contexts.append(context)
        return saves(False)(context)

    check_distiller(host_of(DistillerSpec, Trainer(train)), "it", None, train_context)
    assert (contexts[0].transfer, contexts[0].teacher) == (None, None)


class Analysis:
    def __init__(self, result, needs=("students",)):
        self.result, self.needs = result, frozenset(needs)

    def run(self, context):
        return self.result


def table(**columns):
    return AnalysisResult(tables={"it": pd.DataFrame(columns)})


FINE = pd.DataFrame({"student": ["untrained", "tuned"], "value": [0.5, 0.5]})


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ("text", "must return AnalysisResult, not str"),
        (AnalysisResult(tables={}), "returns no tables"),
        (AnalysisResult(tables={"it": {"a": [1]}}), "must be a pandas DataFrame, not dict"),
        (AnalysisResult(tables={"../up": FINE}), "becomes a file"),
        (table(student=[]), "has no rows"),
        (AnalysisResult(tables={"it": FINE.set_index("student")}), "has data in its index"),
        (table(untrained=[0.1], tuned=[0.2]), "has a column for each student"),
        (table(student=["untrained"], heads=[[1, 2]]), "has lists or dicts in"),
        (table(student=["untrained"] * 2, value=[0.1, 0.2]), "has rows that differ only in measurements"),
        (AnalysisResult(tables={"it": pd.DataFrame({0: [1]})}), "must have distinct column names"),
        (AnalysisResult(tables={"it": FINE}, statements=["no sentence"]), "every statement must be a sentence"),
        (AnalysisResult(tables={"it": FINE}, figures=["f"]), "must be a kdprobe.probing.Figure"),
        (AnalysisResult(tables={"it": FINE}, figures=[Figure("T", "", {"data": []})]), "needs a title and a caption"),
        (
            AnalysisResult(tables={"it": FINE}, figures=[Figure("T", "C", {"data": np.ones(2)})]),
            "must be serialisable as JSON",
        ),
        (AnalysisResult(tables={"it": FINE}, figures=[Figure("T", "C", {})]), "is not a plotly figure"),
    ],
)
def test_analyses(result, sentence, analysis_context):
    with pytest.raises(ContractError, match=sentence):
        check_analysis(host_of(AnalysisSpec, Analysis(result)), "it", None, analysis_context)


def test_what_an_analysis_needs(analysis_context):
    with pytest.raises(ContractError, match=r"declares 1 unknown need: 'oracle'. Supported needs: patterns, students"):
        check_analysis(host_of(AnalysisSpec, Analysis(table(a=["b"]), ["oracle"])), "it", None, analysis_context)


def test_an_analysis_of_single_precision_is_measured_too(analysis_context):
    single = AnalysisResult(tables={"it": FINE.astype({"value": "float32"})})
    assert check_analysis(host_of(AnalysisSpec, Analysis(single)), "it", None, analysis_context) is single


def writes_over(view):
    view.pattern.mul_(0.5)
    return view.pattern.sum((-1, -2))


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        (lambda view: view.pattern.mean((-1, -2)), "changes with padding on the left"),
        (lambda view: view.pattern[..., -1, :].amax(-1), "changes with padding on the right"),
        (lambda view: view.pattern.mean(-1), r"must return \[batch, head\], here \[1, 3\]"),
        (lambda view: 0.5, "must return"),
        (lambda view: view.mean_over_queries(view.pattern.log().sum(-1)), "returns NaN although every query is valid"),
        (writes_over, "overwrites the pattern"),
        (lambda view: view.tokens.float(), "raises AttributeError on a view with everything it needs"),
        (lambda view: view.pattern[..., 0, 0] + next(ORDER), "differently the second time"),
    ],
    ids=["mean", "last", "rows", "number", "infinite", "writes", "undeclared", "changing"],
)
def test_head_metrics(metric, sentence, torch):
    with pytest.raises(ContractError, match=sentence):
        check_head_metric(host_of(HeadMetricSpec, metric), "it")


ORDER = count()


def made(number, split, value="4", question=None, id_=None, solution=None):
    text = solution or f"2 + 2 = {value}\n#### {value}"
    return Problem(id_ or f"{split}-{number}", question or f"What is {split} {number}?", text, value)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (lambda split: [], "has no transfer problems"),
        (
            lambda split: [made(i, split, id_="same") for i in range(2)],
            "uses the id 'same' more than once in the transfer split",
        ),
        (lambda split: [made(i, split, value="four") for i in range(2)], "the gold value 'four' .* is not a number"),
        (lambda split: [made(i, split, value="3 or 4") for i in range(2)], "is not a number"),
        (lambda split: [made(1, split, solution="So it is.")], "does not contain its gold value"),
        (lambda split: [made(i, split, question="Same?") for i in range(2)], "repeats the question of .* as .*"),
        (
            lambda split: [made(1, split, question="What?")],
            "repeats the question of test problem 'test-1' as transfer problem",
        ),
        (lambda split: [made(next(ORDER), split)], "yields different transfer problems the second time"),
        (lambda split: [{"question": "?"}], "must yield Problem records, not dict"),
        (lambda split: [made(1, split, question=" ")], "problem 'transfer-1' has no question"),
    ],
    ids=["none", "ids", "words", "two-numbers", "solution", "twice", "both-splits", "changing", "dict", "blank"],
)
def test_problem_sources(source, sentence):
    with pytest.raises(ContractError, match=sentence):
        check_problem_source(host_of(ProblemSourceSpec, source), "it")


@pytest.mark.parametrize(
    ("counterfactuals", "sentence"),
    [
        (lambda problem: [], "offers no counterfactual for any of the first"),
        (lambda problem: [made(1, "x", value=problem.value)], "'transfer-0' has the problem's own gold value"),
        (lambda problem: [made(1, "x", value="five")], "the gold value 'five' .* is not a number"),
        (lambda problem: ["5"], "is of type str, not Problem"),
        (
            lambda problem: [made(1, "x", value="5", question="What is test 0?")],
            "is also test problem 'test-0'; it must not come from another split",
        ),
        (lambda problem: [made(next(ORDER), "x", value="5")], "is different the second time"),
    ],
    ids=["none", "same-value", "words", "text", "other-split", "changing"],
)
def test_counterfactuals_of_problem_sources(counterfactuals, sentence):
    def source(split):
        return [made(i, split) for i in range(2)]

    with pytest.raises(ContractError, match=sentence):
        check_problem_source(host_of(ProblemSourceSpec, source, counterfactuals=lambda _options: counterfactuals), "it")


class Reader:
    """A scripted extractor."""

    def __init__(self, extract, right=False):
        self.extract, self.right = extract, right

    def is_right(self, extraction, gold):
        return self.right


def quadratic(text):
    """Uses CPU time that grows with the square of the length, with as little real work as is measurable."""
    until = time.process_time() + (len(text) / 20_000) ** 2
    while time.process_time() < until:
        pass
    return Extraction(None, "none")


def exponential(text):
    """Nested repeats: every character doubles the time."""
    re.search(r"(9+)+x", text)
    return Extraction(None, "none")


def slow_but_linear(text):
    """Uses 40 microseconds of CPU time for each character, 2.6 s for the longest text."""
    until = time.process_time() + len(text) * 4e-5
    while time.process_time() < until:
        pass
    return Extraction(None, "none")


@pytest.mark.parametrize(
    ("reader", "sentence"),
    [
        (Reader(lambda text: text[0]), "raises IndexError on ''"),
        (Reader(lambda text: text or None), "must return Extraction, not NoneType"),
        (Reader(lambda text: Extraction(None, "none"), right=None), r"is_right\(\) of 'it' must return a bool"),
        (Reader(lambda text: Extraction(None, str(next(ORDER)))), "differently the second time"),
        (Reader(lambda text: Extraction(None, "none", (0, 1))), "returned a span outside ''"),
        (Reader(quadratic), "the time must be linear in the length"),
        (Reader(exponential), "for [1-9][0-9] characters of '9' as for an eighth of them"),
    ],
    ids=["raises", "type", "verdict", "changing", "outside", "quadratic", "exponential"],
)
def test_extractors(reader, sentence):
    with pytest.raises(ContractError, match=sentence):
        check_extractor(host_of(ExtractorSpec, reader), "it")


def test_a_slow_machine_is_not_taken_for_a_slow_extractor(monkeypatch):
    monkeypatch.setattr("kdprobe.testing.extractor.PIECES", ("9",))
    check_extractor(host_of(ExtractorSpec, Reader(slow_but_linear)), "it")


def test_an_extractor_that_does_not_read_what_it_should():
    reader = Reader(lambda text: Extraction(None, "none"))
    with pytest.raises(ContractError, match="reads None in 'A: 7', but the gold value is '7'"):
        check_extractor(host_of(ExtractorSpec, reader), "it", reads={"A: 7": "7"})


def test_telling_problems_have_values_that_no_question_holds():
    for problem in telling_problems():
        assert problem.value not in problem.question
        assert len(problem.value) > 4
