"""What `circuits` says, from effects that are given: which heads come first, what was switched, and what is exact."""

import numpy as np
import pandas as pd
import pytest

from kdprobe.probing.circuits.effects import Switched, Update
from kdprobe.probing.circuits.evidence import OtherEvidence, evidence_sentence, head_evidence
from kdprobe.probing.circuits.figures import figures
from kdprobe.probing.circuits.groups import Group
from kdprobe.probing.circuits.labels import Circuit
from kdprobe.probing.circuits.measured import MeasuredStudent
from kdprobe.probing.circuits.report import statements
from kdprobe.probing.interventions.gain import Gain

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


def student_of(changes, exact=None, *, gain=4.0, layers=True, problems=7):
    """A student with these first-order effects of changed circuits; the first `exact` of them were switched."""
    order = sorted(changes, key=lambda circuit: -np.sign(gain) * changes[circuit])
    chosen = order[:exact]
    run = [*chosen, *(circuit for circuit in EVERY if circuit not in changes)]
    groups = [Group("everything", Update(order))]
    if layers:
        groups = [Group("attention", Update(order), 0), Group("mlp", Update(), 0), *groups]
    effects = [0.0 if group.name == "mlp" else gain for group in groups]
    after = gain * np.linspace(0.9, 1.1, problems)[:, None] * np.ones((1, 2))
    return MeasuredStudent(
        student="s",
        against="base",
        gain=Gain(after, np.zeros_like(after)),
        error=0.0,
        same=False,
        rest_kinds=[],
        groups=groups,
        group_effects=switched(effects, problems),
        screened=list(changes),
        screened_effects=switched(list(changes.values()), problems),
        chosen=chosen,
        exact=run,
        exact_effects=switched([changes.get(circuit, 0.0) for circuit in run], problems),
    )


def said(student, outputs):
    """The sentence, for these effects of heads' outputs."""
    patching = np.zeros((LAYERS, HEADS))
    for place, value in outputs.items():
        patching[place] = value
    geometry = pd.DataFrame(columns=["layer", "head", "circuit", "relative"])
    return evidence_sentence(head_evidence(student, OtherEvidence(geometry, patching)), student)


VALUES = {Circuit("v", 5, 1): 3.0}


@pytest.mark.parametrize("head", [3, 4, 5])
def test_heads_that_share_the_changed_values_are_not_told_apart(head):
    assert said(student_of(VALUES), {(5, head): 2.0, (6, 1): 1.0}) == (
        f"s: by first-order estimates, layer 5, head {head} comes first by its output (patching). It is one of heads "
        "3, 4 and 5 of layer 5, which share a key-value head and together come first by their own weights."
    )


def test_a_reader_that_patching_puts_first_is_named():
    assert said(student_of(VALUES), {(5, 4): 2.0, (6, 1): 2.5}) == (
        "s: by first-order estimates, layer 6, head 1 comes first by its output (patching), but heads 3, 4 and 5 of "
        "layer 5, which share a key-value head, by their own weights. A head's output also changes if it only reads "
        "what others changed."
    )


def test_queries_of_its_own_tell_a_head_from_those_that_share_its_keys():
    changes = VALUES | {Circuit("q", 5, 4): 4.0}
    assert "layer 5, head 4 comes first both by its output (patching) and by its own weights." in said(
        student_of(changes), {(5, 4): 1.0}
    )
    assert "layer 5, head 3 comes first by its output (patching), but layer 5, head 4 by its own weights." in said(
        student_of(changes), {(5, 3): 1.0}
    )
    # One of the three falls behind a head of another layer.
    changes = VALUES | {Circuit("o", 5, 3): -2.0, Circuit("o", 2, 8): 2.0}
    assert "but heads 4 and 5 of layer 5, which share a key-value head, by their own weights." in said(
        student_of(changes), {(6, 1): 1.0}
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_what_acts_against_the_gain_does_not_come_first(sign):
    changes = {Circuit("q", 1, 2): -9.0 * sign, Circuit("o", 3, 7): 1.0 * sign}
    student = student_of(changes, gain=4.0 * sign)
    assert "layer 3, head 7 comes first both by" in said(student, {(1, 2): -8.0 * sign, (3, 7): 0.5 * sign})
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
                "Effects are first-order estimates, except those of the first 3 circuits of the screening, "
                "which are exact."
            ),
        ),
        (
            FIVE,
            1,
            True,
            (
                "Effects are first-order estimates, except those of the first circuit of the screening, circuits that "
                "training did not change and MLPs, which are exact."
            ),
        ),
    ],
)
def test_captions_of_maps_say_what_was_switched(changes, exact, layers, caption):
    maps = [figure for figure in figures([student_of(changes, exact, layers=layers)], 0) if "heads. " in figure.caption]
    assert len(maps) == 2
    for figure in maps:
        assert figure.caption.endswith(f"key-value heads. {caption}")
        assert ("MLP" in figure.plotly["data"][0]["y"]) == layers


def test_sentences_on_some_circuits_say_how_many_were_switched():
    against = {circuit: -value for circuit, value in FIVE.items()}
    for changes, most in ((FIVE, "those that shift log p"), (against, "none shifts log p")):
        sentences = statements([student_of(changes, 3)], 0)
        assert sum(f"of the 3 single circuits that were switched, {most}" in each for each in sentences) == 2
        assert (
            "s: 3 of 5 single circuits were switched, selected by gradient on the problems that their" in sentences[-1]
        )
    one = statements([student_of({**against, Circuit("q", 0, 0): 5.0}, 3)], 0)
    assert sum("switched, only Q of layer 0, head 0 (" in each for each in one) == 2
    every = " ".join(statements([student_of(FIVE)], 0))
    assert "of the single circuits, 5 of 5 significantly shift" in every
    assert "selected" not in every


@pytest.mark.parametrize(("value", "verb"), [(5.0, "shifts"), (-5.0, "does not shift")])
def test_one_circuit_is_spoken_of_in_the_singular(value, verb):
    changes = {Circuit("q", 0, 0): value, Circuit("q", 1, 0): -6.0}
    sentences = statements([student_of(changes, 1)], 0)
    assert sum(each.endswith(f") {verb} log p in the direction of the gain.") for each in sentences) == 1
    assert sentences[-1] == (
        "s: 1 of 2 single circuits was switched, selected by gradient on the problems that its effects are measured "
        "on, so it is not tested."
    )
    few = statements([student_of({Circuit("q", 0, 0): value}, layers=False, problems=3)], 0)
    assert sum(f") {verb} log p" in each and "too few for a test" in each for each in few) == 2
