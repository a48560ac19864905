"""Predicted against realised changes: association within strategies, planted and absent."""

import json

import numpy as np
import pytest
import scipy

from kdprobe.experiment.config import StrategyConfig
from kdprobe.experiment.rendering import reads_gold
from kdprobe.host.registry import Host
from kdprobe.probing.priming.gain.figures import figures
from kdprobe.probing.priming.gain.measured import gains_of, shown
from kdprobe.probing.priming.gain.predicted import TeacherLogP
from kdprobe.probing.priming.gain.report import statements, summary
from kdprobe.probing.priming.gain.tables import gain_rows, gain_tables
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, bare

COUNT = 48


def problems(templates=0, count=COUNT):
    return [
        Problem(f"p{index}", "How many?", "1\n#### 1", "1", group=f"t{index % templates}" if templates else None)
        for index in range(count)
    ]


def both(values):
    return {"value": np.asarray(values, dtype=float), "solution": np.asarray(values, dtype=float) * 2}


def gains(predicted, realised, *, strategy="teacher", templates=0, sees_gold=False, seed=9):
    """Gains of a strategy from the changes of its students, `[seed, problem]`, against students with random log p."""
    references = np.random.default_rng(seed).normal(size=np.shape(realised))
    return gains_of(
        strategy,
        sees_gold=sees_gold,
        problems=problems(templates, len(predicted)),
        predicted=both(predicted),
        students={row: (f"{strategy}@{row}", both(references[row] + change)) for row, change in enumerate(realised)},
        references={row: both(values) for row, values in enumerate(references)},
    )


def planted(seeds=1, slope=1.0, templates=0):
    random = np.random.default_rng(0)
    predicted = random.normal(size=COUNT)
    return gains(predicted, slope * predicted + 0.7 * random.normal(size=(seeds, COUNT)), templates=templates)


@pytest.mark.parametrize("templates", [0, 4, 12])
@pytest.mark.parametrize(("slope", "direction"), [(1, "more"), (-1, "less")])
def test_a_planted_association_is_found(templates, slope, direction):
    found = statements(planted(slope=slope, templates=templates), "unprimed")
    assert f"Where priming raised the teacher's log p more, the student gained {direction}: " in found[1]
    assert "This is an association and does not show causation." in found[1]
    over = f"within each of {templates} templates" if templates else "over problems"
    assert f"Correlations are Spearman rank correlations, computed {over}" in found[0]


def test_an_absent_association_is_never_interpreted():
    """Families of three strategies: at most one in twenty has a claim about any of them."""
    random, claims = np.random.default_rng(1), 0
    for _ in range(400):
        family = [
            *gains(random.normal(size=16), random.standard_t(3, size=(1, 16)), strategy="a"),
            *gains(random.normal(size=16), random.normal(size=(1, 16)), strategy="b", templates=4),
            *gains(random.exponential(size=16), random.normal(size=(3, 16)), strategy="c"),
        ]
        found = statements(family, "unprimed")[1:]
        assert [sentence.split(" ")[0].strip(":") for sentence in found] == ["a@0", "b@0", "c"]
        claims += any("Where priming raised" in sentence for sentence in found)
        for sentence in found:
            assert (
                "Where priming raised" in sentence
                or "There is no significant association between the two changes: " in sentence
            )
    # 5%, and three standard errors of a share of 400.
    assert claims / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_three_seeds_speak_of_the_strategy_and_two_of_students():
    three = planted(seeds=3)
    assert [gain.name for gain in three] == ["teacher@0", "teacher@1", "teacher@2", "teacher"]
    assert [gain.name for gain in shown(three)] == ["teacher"]
    rows = {row["student"]: row for row in gain_rows(three, "unprimed") if row["measure"] == "value"}
    mean = np.mean([gain.realised("value")[0] for gain in three[:3]], axis=0)
    assert rows["teacher"]["correlation"] == pytest.approx(
        scipy.stats.spearmanr(three[0].predicted["value"], mean).statistic
    )
    assert rows["teacher"]["realised"] == pytest.approx(mean.mean())
    assert rows["teacher"]["seeds"] == 3
    # Only what is stated is a family.
    assert rows["teacher"]["p_adjusted"] == rows["teacher"]["p_over_units"]
    assert np.isnan(rows["teacher@0"]["p_adjusted"])
    two = planted(seeds=2)
    assert [gain.name for gain in shown(two)] == ["teacher@0", "teacher@1"]
    family = [row for row in gain_rows(two, "unprimed") if row["measure"] == "value"]
    smaller = min(row["p_over_units"] for row in family)
    assert min(row["p_adjusted"] for row in family) == pytest.approx(2 * smaller)


def test_means_are_over_problems_or_templates():
    (gain,) = planted()
    values = gain.predicted["value"]
    mean = gain.predicted_mean("value")
    assert (mean.value, mean.error) == pytest.approx((values.mean(), scipy.stats.sem(values)))
    (grouped,) = planted(templates=4)
    by_template = values.reshape(-1, 4).mean(axis=0)
    mean = grouped.predicted_mean("value")
    assert (mean.value, mean.error) == pytest.approx((values.mean(), scipy.stats.sem(by_template)))
    half = scipy.stats.t.ppf(0.975, 3) * scipy.stats.sem(by_template)
    assert mean.interval.high - mean.value == pytest.approx(half)


def test_a_teacher_that_sees_the_gold_solution_predicts_nothing():
    random = np.random.default_rng(2)
    predicted = random.normal(size=COUNT)
    leaky = gains(predicted, [predicted], strategy="leaky", sees_gold=True)
    found = [*leaky, *planted()]
    told = statements(found, "unprimed")
    assert "depend on the gold solutions" in told[1]
    assert "Where" not in told[1]
    row = next(row for row in gain_rows(found, "unprimed") if row["student"] == "leaky@0")
    assert row["sees_gold"]
    assert np.isnan([row["correlation"], row["low"], row["high"], row["p_over_units"], row["p_adjusted"]]).all()
    points, means = figures(found)
    assert [trace["name"] for trace in points.plotly["data"]] == ["teacher@0"]
    assert [trace["name"] for trace in means.plotly["data"]] == ["leaky@0", "teacher@0"]


def test_strategies_are_only_drawn():
    _, means = figures([*planted(), *gains([1.0] * 8, [[2.0] * 8], strategy="other")])
    assert "too few strategies here to tell whether the two changes are related" in means.caption
    json.dumps(means.plotly)


def test_a_change_that_never_varies_has_no_correlation():
    found = statements(gains([0.0] * 20, np.random.default_rng(3).normal(size=(1, 20))), "unprimed")
    assert "Either the predicted or the realised change is the same for all problems, so there is no" in found[1]
    values = np.random.default_rng(3).normal(size=20)
    found = statements(gains(np.arange(20) % 4.0, [values], templates=4), "unprimed")
    assert "Either the predicted or the realised change never varies within a template, so there is no" in found[1]


def in_templates(names, predicted, realised):
    """Gains over problems of these templates."""
    return gains_of(
        "teacher",
        sees_gold=False,
        problems=[Problem(f"p{index}", "How many?", "1\n#### 1", "1", group=name) for index, name in enumerate(names)],
        predicted=both(predicted),
        students={0: ("teacher@0", both(realised))},
        references={0: both(np.zeros(len(names)))},
    )


def test_problems_alone_in_their_template_are_not_counted_in_the_correlation():
    random = np.random.default_rng(4)
    names = [*("abc" * 4), "alone", "lonely"]
    found = in_templates(names, *random.normal(size=(2, len(names))))
    row = gain_rows(found, "unprimed")[0]
    assert (row["problems"], row["problems_alone"], row["templates"], row["over"]) == (12, 2, 3, "templates")
    read = statements(found, "unprimed")[0]
    assert read.startswith("For each of 14 test problems, ")
    assert "within each of 3 templates, with intervals over templates. 2 problems are each the only one from" in read


def test_one_problem_is_spoken_of_in_the_singular():
    read = statements(in_templates(["a"], np.zeros(1), np.zeros(1)), "unprimed")[0]
    assert read.startswith("For one test problem, the predicted change")


def test_one_template_with_several_problems_is_not_tested():
    values = np.random.default_rng(5).normal(size=12)
    found = in_templates([*"aaaaaaaaaa", "alone", "lonely"], values, values)
    row = gain_rows(found, "unprimed")[0]
    assert (row["problems"], row["problems_alone"], row["templates"], row["over"]) == (10, 2, 1, "templates")
    assert row["missing"] == "few_templates"
    assert np.isnan([row["low"], row["high"], row["p_over_units"], row["p_adjusted"]]).all()
    read, stated = statements(found, "unprimed")
    assert "within the only template with several problems. 2 problems are each the only one" in read
    assert "Only one template has several problems, which is too few for an interval for the correlation" in stated


@pytest.mark.parametrize(
    ("names", "predicted", "reason"),
    [
        ([None] * 4, [1, 2, 3, 4], "4 problems are too few for an interval for the correlation (1.00); at least 6 are"),
        ("aabbc", [1, 2, 1, 2, 0], "4 problems are too few for an interval for the correlation (1.00); at least 6 are"),
        ([None], [1], "1 problem is too few for a correlation; at least 6 are needed."),
        (
            "aabbcc",
            [1, 2, 1, 1, 0, 0],
            "In all templates but one, the predicted or the realised change does not vary, which is too little",
        ),
        ("aabbcc", [1, 2, 1, 2, 1, 2], "Leaving out any one template does not change the correlation (1.00)"),
        (
            [None] * 7,
            [0, 0, 0, 0, 0, 0, 1],
            "Apart from one problem, all problems have the same predicted or the same realised change, which is too",
        ),
    ],
)
def test_the_reason_for_a_missing_result_is_the_true_one(names, predicted, reason):
    found = in_templates(names, predicted, predicted)
    assert reason in statements(found, "unprimed")[1]


def test_students_without_an_unprimed_one_of_their_seed_are_left_out():
    shared = {"sees_gold": False, "problems": problems(), "predicted": both(np.zeros(COUNT))}
    student = {1: ("teacher@1", both(np.zeros(COUNT)))}
    assert gains_of("teacher", **shared, students=student, references={0: both(np.zeros(COUNT))}) == []
    assert "nothing can be compared" in statements([], "unprimed")[0]
    assert summary([], "unprimed") == {"unprimed": "unprimed", "gains": []}


def test_tables_have_every_problem():
    found = planted(seeds=3)
    teacher = TeacherLogP(both(np.zeros(COUNT)), {"teacher": found[0].predicted})
    table = gain_tables(found, "unprimed", teacher)["priming_gain_problems"]
    assert len(table) == 4 * 2 * COUNT
    np.testing.assert_allclose(table["teacher_primed"] - table["teacher_bare"], table["predicted"])


def shows_gold(problem):
    return PromptPair([{"role": "user", "content": f"{problem.question} Hint: {problem.value}"}], bare(problem))


def needs_a_sum(problem):
    problem.solution.index("=")
    return PromptPair(bare(problem), bare(problem))


def looks_up(problem):
    solutions = {"p0": "2 + 3 = 5 apples.\n#### 5"}
    return PromptPair([{"role": "user", "content": f"{problem.question} {solutions[problem.id]}"}], bare(problem))


def primes(problem):
    return PromptPair([{"role": "user", "content": f"Think. {problem.question}"}], bare(problem))


@pytest.mark.parametrize(
    ("strategy", "sees"), [(shows_gold, True), (needs_a_sum, True), (looks_up, True), (primes, False)]
)
def test_what_a_strategy_shows_of_gold_solutions_is_seen_in_what_it_renders(strategy, sees):
    from kdprobe.api.given.functions import add_functions

    host = Host()
    add_functions(host, strategies={"mine": strategy})
    asked = [Problem("p0", "Two and three apples?", "2 + 3 = 5 apples.\n#### 5", "5")]
    assert reads_gold(host, StrategyConfig(name="mine"), asked) == sees


@pytest.mark.parametrize("name", ["none", "teacher", "ground-truth", "confidence"])
def test_no_built_in_strategy_shows_gold_solutions(name):
    asked = [Problem("p0", "Two and five?", "2 + 5 = 7\n#### 7", "7"), Problem("p1", "What?", "#### 8", "8")]
    assert not reads_gold(Host(), StrategyConfig(name=name), asked)
