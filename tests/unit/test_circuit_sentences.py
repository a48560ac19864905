"""What `circuits` says, from effects that are given: which heads come first, what was switched, and what is exact."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from kdprobe.probing.circuits.arms import Arm, adjusted_p, shown
from kdprobe.probing.circuits.effects import Switched, Update
from kdprobe.probing.circuits.evidence import OtherEvidence, evidence_sentence, head_evidence
from kdprobe.probing.circuits.figures import figures
from kdprobe.probing.circuits.groups import Group
from kdprobe.probing.circuits.labels import Circuit
from kdprobe.probing.circuits.measured import MeasuredStudent
from kdprobe.probing.circuits.report import statements
from kdprobe.probing.circuits.selection import CircuitSelection, first_before, select_circuits
from kdprobe.probing.circuits.tables import circuit_tables
from kdprobe.probing.interventions.gain import Gain
from kdprobe.probing.selection import folds_of
from kdprobe.stats.crossed import crossed_test

LAYERS, HEADS, SHARED = 7, 9, 3
EVERY = [
    Circuit(kind, layer, head)
    for layer in range(LAYERS)
    for kind in "qkvo"
    for head in range(HEADS // SHARED if kind in "kv" else HEADS)
]


def switched(values, problems):
    """Effects of these sizes on both targets, `[problem, update, target]`, with a little spread over problems."""
    spread = np.linspace(0.9, 1.1, problems)[:, None, None]
    on = spread * np.array(values, float).reshape(1, -1, 1) * np.ones((1, 1, 2))
    return Switched(on, -on)


def student_of(changes, exact=None, *, gain=4.0, layers=True, problems=7, name="s", arm=""):
    """A student with these first-order effects of changed circuits; the first `exact` of them were switched."""
    order = sorted(changes, key=lambda circuit: -np.sign(gain) * changes[circuit])
    chosen = order[:exact]
    run = [*chosen, *(circuit for circuit in EVERY if circuit not in changes)]
    groups = [Group("everything", Update(order))]
    if layers:
        groups = [Group("attention", Update(order), 0), Group("mlp", Update(), 0), *groups]
    effects = [0.0 if group.name == "mlp" else gain for group in groups]
    after = gain * np.linspace(0.9, 1.1, problems)[:, None] * np.ones((1, 2))
    folds = folds_of(problems, 5)
    return MeasuredStudent(
        student=name,
        arm=arm or name,
        against="base",
        gain=Gain.between(after, np.zeros_like(after)),
        error=0.0,
        same=False,
        rest_kinds=[],
        groups=groups,
        group_effects=switched(effects, problems),
        screened=list(changes),
        screened_effects=switched(list(changes.values()), problems),
        selection=CircuitSelection(chosen, [chosen] * int(folds.max()), folds),
        exact=run,
        exact_effects=switched([changes.get(circuit, 0.0) for circuit in run], problems),
    )


def said(student, outputs):
    """The sentence, for these effects of heads' outputs."""
    patching = np.zeros((LAYERS, HEADS))
    for place, value in outputs.items():
        patching[place] = value
    geometry = pd.DataFrame(columns=["layer", "head", "circuit", "relative"])
    return evidence_sentence([head_evidence(student, OtherEvidence(geometry, patching))], Arm("s", [student]))


VALUES = {Circuit("v", 5, 1): 3.0}


@pytest.mark.parametrize("head", [3, 4, 5])
def test_heads_that_share_the_changed_values_are_not_told_apart(head):
    assert said(student_of(VALUES), {(5, head): 2.0, (6, 1): 1.0}) == (
        f"s: by first-order estimates, the output of layer 5, head {head} (patching) shifts log p most in the "
        "direction of the gain. This head is one of heads 3, 4 and 5 of layer 5, which share a key-value head and "
        "whose own weights shift log p further in this direction than those of any other head."
    )


def test_a_reader_that_patching_puts_first_is_named():
    assert said(student_of(VALUES), {(5, 4): 2.0, (6, 1): 2.5}) == (
        "s: by first-order estimates, the output of layer 6, head 1 (patching) shifts log p most in the direction of "
        "the gain; among the heads' own weights, those of heads 3, 4 and 5 of layer 5, which share a key-value head, "
        "shift it furthest in this direction. A head's output can change merely because other heads changed its input."
    )


def test_queries_of_its_own_tell_a_head_from_those_that_share_its_keys():
    changes = VALUES | {Circuit("q", 5, 4): 4.0}
    most = "shifts log p most in the direction of the gain"
    assert f"layer 5, head 4 {most} both by its output (patching) and by its own weights." in said(
        student_of(changes), {(5, 4): 1.0}
    )
    assert (
        f"the output of layer 5, head 3 (patching) {most}; among the heads' own weights, those of layer 5, head 4 "
        "shift it furthest" in said(student_of(changes), {(5, 3): 1.0})
    )
    # One of the three falls behind a head of another layer.
    changes = VALUES | {Circuit("o", 5, 3): -2.0, Circuit("o", 2, 8): 2.0}
    assert (
        "those of heads 4 and 5 of layer 5, which share a key-value head, shift it furthest in this direction."
        in said(student_of(changes), {(6, 1): 1.0})
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_what_acts_against_the_gain_does_not_come_first(sign):
    changes = {Circuit("q", 1, 2): -9.0 * sign, Circuit("o", 3, 7): 1.0 * sign}
    student = student_of(changes, gain=4.0 * sign)
    assert "layer 3, head 7 shifts log p most in the direction of the gain both by" in said(
        student, {(1, 2): -8.0 * sign, (3, 7): 0.5 * sign}
    )
    assert said(student, {(1, 2): -8.0 * sign}) == (
        "s: by first-order estimates, no head's output alone shifts log p in the direction of the gain."
    )
    against = student_of({Circuit("q", 1, 2): -9.0 * sign}, gain=4.0 * sign)
    assert said(against, {(1, 2): sign}) == (
        "s: by first-order estimates, no head's own weights alone shift log p in the direction of the gain."
    )


def test_without_a_change_in_attention_nothing_is_said():
    assert said(student_of({}), {(1, 2): 1.0}) is None


FIVE = {Circuit("q", layer, 0): 5.0 - layer for layer in range(5)}
ALL_CHANGED = {circuit: float(index) for index, circuit in enumerate(EVERY)}


@pytest.mark.parametrize(
    ("changes", "exact", "layers", "caption"),
    [
        (FIVE, None, True, "All effects are exact."),
        (ALL_CHANGED, 0, False, "All effects are first-order estimates."),
        (ALL_CHANGED, 0, True, "Effects are first-order estimates, except those of MLPs, which are exact."),
        (
            ALL_CHANGED,
            3,
            False,
            (
                "Effects are first-order estimates, except those of the 3 circuits that the screening selected, "
                "which are exact."
            ),
        ),
        (
            FIVE,
            1,
            True,
            (
                "Effects are first-order estimates, except those of the circuit that the screening selected, circuits "
                "that training did not change and MLPs, which are exact."
            ),
        ),
    ],
)
def test_captions_of_maps_say_what_was_switched(changes, exact, layers, caption):
    maps = [
        figure
        for figure in figures(shown([student_of(changes, exact, layers=layers)]), 0)
        if "heads. " in figure.caption
    ]
    assert len(maps) == 2
    for figure in maps:
        assert figure.caption.endswith(f"key-value heads. {caption}")
        assert ("MLP" in figure.plotly["data"][0]["y"]) == layers


def spoken(*students):
    return statements(shown(students), 0)


def test_the_first_circuit_is_measured_on_folds_that_did_not_select_it():
    student = student_of(FIVE, 3, problems=8)
    # The first of all problems by far, but only on the first of them, which selects for the others.
    student.exact_effects.on[0, 1] += 90
    sentences = spoken(student)
    (on,) = [each for each in sentences if "in the base: the single circuit that " in each]
    later = np.linspace(0.9, 1.1, 8)[[1, 2, 3, 4, 6, 7]] * 4
    half = t.ppf(0.975, 5) * later.std(ddof=1) / np.sqrt(6)
    assert later.mean() == pytest.approx(4, abs=0.05)
    assert on == (
        "s, with each part switched on alone in the base: the single circuit that ranks first on the earlier folds (Q "
        "of layer 1, head 0) significantly shifts log p in the direction of the gain on the later folds, by "
        f"{later.mean():+.2f} nats ({later.mean() - half:+.2f} to {later.mean() + half:+.2f}, 100% of the gain) "
        "(sign-flip test over 6 problems, p = 0.031)."
    )
    (off,) = [each for each in sentences if "in the student: the single circuit that " in each]
    assert "(Q of layer 0, head 0) significantly shifts log p against the gain on the later folds, by -5.0" in off
    against = spoken(student_of({circuit: -value for circuit, value in FIVE.items()}, 3, problems=8))
    (on,) = [each for each in against if "in the base: the single circuit that " in each]
    assert "(Q of layer 4, head 0) significantly shifts log p against the gain on the later folds, by -1.0" in on
    assert sentences[-1] == (
        "s: 3 of 5 single circuits were switched: those that rank highest by a gradient-based estimate, either "
        "on all problems or on only the earlier folds. Effects are not tested on the problems that were used for this "
        "selection."
    )
    every = " ".join(spoken(student_of(FIVE, problems=8)))
    assert "5 of the 5 single circuits significantly shift" in every
    assert "adjusted for all single circuits): most of all Q of layer 0, head 0; Q of layer 1, head 0; Q of" in every
    first = "The single circuit that ranks first on the earlier folds (Q of layer 0, head 0) significantly shifts log p"
    assert f"{first} in" in every
    assert "gradient-based" not in every


@pytest.mark.parametrize(("value", "verb"), [(5.0, "shifts"), (-5.0, "does not shift")])
def test_one_circuit_is_spoken_of_in_the_singular(value, verb):
    changes = {Circuit("q", 0, 0): value, Circuit("q", 1, 0): -6.0}
    assert spoken(student_of(changes, 1))[-1].startswith(
        "s: 1 of 2 single circuits was switched: the one that ranks highest by a gradient-based estimate, "
    )
    few = spoken(student_of({Circuit("q", 0, 0): value}, layers=False, problems=3))
    assert sum(f") {verb} log p" in each and "too few for a test" in each for each in few) == 2


def test_a_single_problem_selects_and_tests_nothing():
    sentences = spoken(student_of(FIVE, 3, problems=1))
    assert "folds" not in sentences[0]
    few = [each for each in sentences if "shift log p" in each and each.endswith(" 1 problem is too few for a test.")]
    assert len(few) == 2
    assert ": 3 of the 3 single circuits shift log p in the direction of the gain: Q of layer 0, head 0; Q of" in few[0]


@pytest.mark.parametrize("problems", [8, 12])
def test_circuits_without_an_effect_are_found_in_at_most_one_case_in_twenty(problems):
    """Effects with heavy tails, circuits and problems of unequal spread, and a gain that decides what ranks first."""
    random, repetitions, columns = np.random.default_rng(problems), 2_000, 60
    wrong, best, later = 0, [], []
    folds = folds_of(problems, 5)
    for _ in range(repetitions):
        spread = random.gamma(1, 1, size=(problems, 1)) * random.gamma(1, 1, size=columns)
        effects = random.standard_t(4, size=(problems, columns)) * spread
        gain = effects.sum(axis=1)
        circuits = [Circuit("q", column, 0) for column in range(columns)]
        selection = select_circuits(circuits, effects, gain, 8, folds=5)
        before = [[circuit.layer for circuit in found] for found in selection.before]
        picked = first_before(effects, gain, folds, before)
        chosen = np.flatnonzero(picked >= 0)
        found = effects[chosen, picked[chosen]]
        sign = np.sign([gain[folds < folds[problem]].mean() for problem in chosen])
        wrong += adjusted_p(found[None, :, None, None], int(random.integers(2**31)))[0, 0] < 0.05
        later.append((sign * found).mean())
        best.append(np.sign(gain.mean()) * effects[:, selection.chosen[0].layer].mean())
    assert wrong / repetitions < 0.05 + 2 * np.sqrt(0.05 * 0.95 / repetitions)
    error = np.std(later) / np.sqrt(repetitions)
    assert abs(np.mean(later)) < 3 * error
    # On the problems that selected it, the first circuit seems to have an effect.
    assert np.mean(best) > 20 * error


def seeds_of(effects, gains, name="a"):
    """Students of one arm with effects of two circuits, `[seed, problem, circuit]`, and gains, `[seed, problem]`."""
    circuits = [Circuit("q", 0, 0), Circuit("v", 1, 1)]
    selection = CircuitSelection(circuits, [circuits] * 4, folds_of(gains.shape[1], 5))
    for seed, (own, gain) in enumerate(zip(effects, gains, strict=True)):
        both = Switched(np.stack([own, own], axis=-1), -np.stack([own, own], axis=-1))
        total = np.stack([gain, gain], axis=-1)
        everything = Switched(total[:, None], -total[:, None])
        yield MeasuredStudent(
            student=f"{name}@{seed}",
            arm=name,
            against="base",
            gain=Gain.between(total, np.zeros_like(total)),
            error=0.0,
            same=False,
            rest_kinds=[],
            groups=[Group("everything", Update(circuits))],
            group_effects=everything,
            screened=circuits,
            screened_effects=both,
            selection=selection,
            exact=circuits,
            exact_effects=both,
        )


def test_seeds_of_an_arm_are_combined_in_one_set_of_sentences_and_charts():
    random = np.random.default_rng(0)
    gains = random.normal(6, 1, size=(1, 8)) + random.normal(0, 0.5, size=(3, 8))
    effects = random.normal(0, 0.2, size=(3, 8, 2)) + np.array([3.0, 0.0]) + random.normal(0, 0.4, size=(3, 1, 2))
    students = [*seeds_of(effects, gains), *seeds_of(effects[:2], gains[:2], "b")]
    arm, *others = shown(students)
    assert (arm.name, arm.title, [each.name for each in others]) == ("a", "a (3 seeds)", ["b@0", "b@1"])
    sentences = spoken(*students)
    assert "averaged over the seeds" in sentences[0]
    own = [each for each in sentences if each.startswith(("a (3 seeds)", "log p(gold solution) of a (3 seeds)"))]
    assert len(own) == (len(sentences) - 1) / 3
    assert not any("a@" in each for each in sentences)
    (singles,) = [each for each in own if "in the base: 1 of the 2 single circuits " in each]
    shifts = "significantly shifts log p in the direction of the gain"
    assert f"single circuits {shifts} (sign-flip test over problems, for" in singles
    assert f"The single circuit that ranks first on the earlier folds (Q of layer 0, head 0) {shifts}" in singles
    charts = figures(shown(students), 0)
    # Bars of groups, and a map per direction.
    assert len(charts) == 3
    for chart in charts:
        assert "a@" not in str(chart.plotly)
        (menu,) = chart.plotly["layout"]["updatemenus"]
        assert [button["label"] for button in menu["buttons"]] == ["a", "b@0", "b@1"]
        for button, trace_of in zip(menu["buttons"], ("a", "b@0", "b@1"), strict=True):
            visible = button["args"][0]["visible"]
            named = [trace["name"].startswith(trace_of) for trace in chart.plotly["data"]]
            assert visible == named
        assert [trace["visible"] for trace in chart.plotly["data"]] == menu["buttons"][0]["args"][0]["visible"]
    alone = figures(shown(students[:1]), 0)
    assert len(alone) == len(charts)
    assert not any(chart.plotly["layout"].get("updatemenus") for chart in alone)


def test_tables_have_rows_of_arms_over_seeds_and_problems():
    random = np.random.default_rng(1)
    gains = random.normal(6, 1, size=(1, 8)) + random.normal(0, 0.5, size=(3, 8))
    effects = random.normal(0, 0.5, size=(3, 8, 2)) + np.array([3.0, 0.0]) + random.normal(0, 0.4, size=(3, 1, 2))
    tables = circuit_tables(list(seeds_of(effects, gains)), [f"p{index}" for index in range(8)], 0)
    singles = tables["circuits"].query("switched == 'off' and metric == 'log_p_gold_value' and method == 'exact'")
    arm = singles.query("student == 'a'").set_index("circuit")
    assert arm["problem"].tolist() == ["pooled"] * 2
    assert (arm["seeds"] == 3).all()
    assert (arm["over"] == "seeds and problems").all()
    for column, circuit in enumerate("qv"):
        values = -effects[..., column]
        assert arm["value"][circuit] == pytest.approx(values.mean())
        for end in ("low", "high"):
            assert crossed_test(values - arm[end][circuit], np.zeros(8)).p == pytest.approx(0.05)
            assert crossed_test(-values - arm[f"share_{end}"][circuit] * gains, np.zeros(8)).p == pytest.approx(0.05)
        assert arm["share"][circuit] == pytest.approx(effects[..., column].mean() / gains.mean())
    seeds = singles.query("student != 'a'")
    assert len(seeds) == 3 * 2 * 9
    assert set(seeds["over"]) == {"problems"}
    gain = tables["gain"].query("student == 'a' and metric == 'log_p_gold_value'")
    assert gain["value"].item() == pytest.approx(gains.mean())
    assert crossed_test(gains - gain["low"].item(), np.zeros(8)).p == pytest.approx(0.05)
