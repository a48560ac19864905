"""What a pair is, which layers are patched, and the error rate of the test of differences."""

from dataclasses import replace

import numpy as np
import pytest

from kdprobe.probing.contrast.measured import ContrastedStudent, Group, shown, strategies_of
from kdprobe.probing.contrast.pairs import ContrastPair, contrasted
from kdprobe.probing.contrast.patched import Effects
from kdprobe.probing.contrast.report import _change_sentence, _group_sentences
from kdprobe.probing.contrast.sites import Site, evenly_spaced, sites_of
from kdprobe.students.sequence import ProblemSequence


def sequence(ids, value, **parts):
    known = {
        "question": (1, 2),
        "numbers": (2,),
        "step_numbers": (5,),
        "operators": (6,),
        "final_answer": (9, 10),
        **parts,
    }
    return ProblemSequence("p", tuple(ids[:4]), tuple(ids[4:11]), (0,), value=value, **known)


CLEAN = [1, 2, 30, 4, 5, 60, 7, 8, 90, 10, 90]


def other(**changed):
    ids = list(CLEAN)
    for position, token in changed.items():
        ids[int(position[1:])] = token
    return ids


def test_a_pair_ends_where_the_values_differ():
    pair = contrasted(sequence(CLEAN, (7, 8)), sequence(other(p2=31, p5=61, p8=91), (7, 8)))
    assert (pair.clean, pair.other) == ((1, 2, 30, 4, 5, 60, 7, 8), (1, 2, 31, 4, 5, 61, 7, 8))
    assert pair.answers == (90, 91)
    # The first token of the value, which both share, is where the answer is predicted from.
    assert pair.parts.tolist() == [
        *("template", "question", "question_numbers", "template"),
        *("steps", "step_numbers", "operators", "answer"),
    ]
    assert pair.differing.nonzero()[0].tolist() == [2, 5]
    assert pair.within("all").all()


@pytest.mark.parametrize(
    ("ids", "value", "parts"),
    [
        (CLEAN, (8,), {}),
        (other(p8=91), (8,), {}),
        (other(p2=31), (8,), {}),
        (other(p2=31, p8=91), (8, 9), {}),
        (other(p2=31, p8=91), (7,), {}),
        (other(p2=31, p8=91), (8,), {"numbers": ()}),
        (other(p2=31, p8=91), (8,), {"operators": (7,)}),
        ([*CLEAN[:4], 5, *other(p2=31, p8=91)[4:]], (9,), {}),
    ],
)
def test_what_does_not_align_or_does_not_differ_is_no_pair(ids, value, parts):
    assert contrasted(sequence(CLEAN, (8,)), sequence(ids, value, **parts)) is None


def test_layers_are_evenly_spaced():
    assert evenly_spaced(30, 8) == [0, 4, 8, 12, 17, 21, 25, 29]
    assert evenly_spaced(4, 8) == evenly_spaced(4, "all") == [0, 1, 2, 3]
    assert evenly_spaced(30, 1) == [0]


def test_sites_cover_every_kind_layer_and_part():
    sites = list(sites_of([0, 5], ["steps", "answer"], mlps=True, heads=2, heads_by_position=False))
    assert len(sites) == 2 * 2 * 3 + 2 * 2
    assert sites[-1] == Site("head", 5, 1, "all")
    assert sites[0].label == "the residual stream before layer 0 at the words of the steps"
    assert len(list(sites_of([0], ["steps"], mlps=False, heads=2, heads_by_position=True))) == 2 + 2 * 2


SITES = [Site("residual", layer, -1, part) for layer in range(4) for part in ("question", "steps", "answer", "all")]
SITES += [Site("head", layer, head, "all") for layer in range(4) for head in range(6)]


def student(name, clean, other, shares, arm=""):
    """A student with these shares of the difference, `[pair, site]`."""
    pairs = [
        ContrastPair(f"p{index}", f"template{index % 3}", (1, 2), (1, 3), (4, 5), np.array(["steps", "answer"]))
        for index in range(len(clean))
    ]
    effects = [Effects(a, b, share * (b - a)) for a, b, share in zip(clean, other, shares, strict=True)]
    return ContrastedStudent(name, arm or name, pairs, SITES, effects)


def drawn(random, problems, shared=0.5):
    """The clean and counterfactual score of each problem, and shares with heavy tails, alike for all students."""
    common = random.normal(size=(problems, 1))
    shares = shared * common + random.standard_t(3, size=(problems, len(SITES))) * 0.3
    shares[:, [site.by_construction for site in SITES]] = 1
    return random.uniform(0.05, 4, problems), -random.uniform(0.05, 4, problems), shares


@pytest.mark.parametrize("problems", [8, 12])
def test_students_that_do_not_differ_are_said_to_differ_in_at_most_one_case_in_twenty(problems):
    random, repetitions = np.random.default_rng(problems), 2_000
    wrong = 0
    for _ in range(repetitions):
        mean = random.normal(size=(1, len(SITES)))
        a, b = (
            student(name, clean, other, shares + mean * (shares != 1))
            for name in "ab"
            for clean, other, shares in [drawn(random, problems)]
        )
        p = Group("b", [b], a).p("effect", seed=int(random.integers(2**31)))
        wrong += bool(np.nanmin(p) <= 0.05)
    # At most 5%, plus two standard errors of this simulation.
    assert wrong / repetitions < 0.05 + 2 * np.sqrt(0.05 * 0.95 / repetitions)


def test_a_planted_difference_is_found_and_named():
    random, moved = np.random.default_rng(1), SITES.index(Site("head", 2, 3, "all"))
    clean, other, shares = drawn(random, 12)
    a = student("a", clean, other, shares)
    changed = shares + random.normal(size=shares.shape) * 0.02
    changed[:, moved] += 0.8
    changed[:, [site.by_construction for site in SITES]] = 1
    b = student("b", clean * 2, other * 2, changed)
    sentence = _change_sentence(Group("b", [b], a), seed=0)
    assert "b compared with a: the share of the difference between the runs has changed significantly at" in sentence
    assert (
        "patched sites (sign-flip test over 12 problems, which come from only 3 templates, adjusted for all sites)"
        in sentence
    )
    assert "all sites): layer 2, head 3 at all positions (+0.8" in sentence
    p = Group("b", [b], a).p("effect", seed=0)
    assert p[moved] == np.nanmin(p) < 0.01
    assert np.isnan(p[[site.by_construction for site in SITES]]).all()


def test_shares_are_of_the_problems_that_a_student_tells_apart():
    clean, other = np.array([2.0, -1.0, 3.0, 1.0]), np.array([-2.0, -2.0, 1.0, -1.0])
    shares = np.arange(4.0)[:, None] * np.ones(len(SITES))
    a = student("a", clean, other, shares)
    assert a.tells_apart.tolist() == [True, False, False, True]
    mean, over_templates, problems = Group("a", [a]).means("effect")[0]
    assert (mean.value, problems) == (1.5, 2)
    # Both are of the same template.
    assert np.isnan(over_templates.interval.low)
    mean, over_templates, problems = Group("a", [a]).means("nats")[0]
    assert (mean.value, problems) == ((shares[:, 0] * (other - clean)).mean(), 4)
    assert over_templates.interval.low < mean.value < over_templates.interval.high
    b = student("b", clean[::-1].copy(), other, shares)
    assert Group("b", [b], a).used("effect").tolist() == [True, False, False, True]


def test_too_few_problems_are_said():
    random = np.random.default_rng(3)
    a, b = (student(name, *drawn(random, 5)) for name in "ab")
    assert _change_sentence(Group("b", [b], a), seed=0) == (
        "b compared with a: 5 of 5 problems are told apart from their counterfactuals by both models. At least 6 such "
        "problems are needed to test whether training changed which sites carry the difference between the runs."
    )
    clean, other, shares = drawn(random, 5)
    one = student("a", np.where(np.arange(5) == 0, clean, -clean), other, shares)
    said = _change_sentence(Group("b", [b, b, b], one), seed=0)
    assert ": 1 of 5 problems is told apart from its counterfactual with every seed and by 'a'. At" in said
    same = student("b", *drawn(np.random.default_rng(4), 8))
    assert "no patched site carries a different share" in _change_sentence(Group("b", [same], same), 0)


def test_missing_parts_and_rounding():
    shares = np.zeros((4, len(SITES)))
    shares[:2, 0] = np.nan
    shares[:, 1] = 1e-6
    a = student("a", np.ones(4), -np.ones(4), shares)
    means = Group("a", [a]).means("nats")
    assert means[0][2] == 2
    assert means[1][0].value == 0
    assert (Group("a", [a], a).p("nats", 0)[:2] == 1).all()


def test_without_all_templates_there_is_no_interval_over_them():
    random = np.random.default_rng(6)
    a, b = (student(name, *drawn(random, 12)) for name in "ab")
    assert np.isfinite(Group("b", [b], a).means("effect")[0][1].interval.low)
    pairs = [replace(b.pairs[0], group=None), *b.pairs[1:]]
    a, b = (replace(each, pairs=pairs) for each in (a, b))
    for measure in ("effect", "nats"):
        for mean, over_templates, _ in Group("b", [b], a).means(measure):
            assert np.isfinite(mean.interval.low)
            assert np.isnan([over_templates.interval.low, over_templates.interval.high]).all()
    assert "test over 12 problems, adjusted" in _change_sentence(Group("b", [b], a), 0)


def test_the_only_part_that_differs_before_the_first_layer_is_not_tested():
    """The second token, `answer`, is all that differs between the texts of these pairs."""
    random = np.random.default_rng(7)
    first = SITES.index(Site("residual", 0, -1, "answer"))
    (clean, other, shares), (_, _, others) = drawn(random, 12), drawn(random, 12)
    # A share of 1 by construction, up to rounding: always larger in one student, which a test of signs would find.
    shares[:, first], others[:, first] = 1, 1 + 1e-5
    a, b = student("a", clean, other, shares), student("b", clean, other, others)
    p = Group("b", [b], a).p("effect", 0)
    assert np.isnan(p[first])
    # Before later layers, and at other parts, it is tested.
    assert np.isfinite(p[SITES.index(Site("residual", 1, -1, "answer"))])
    assert np.isfinite(p[SITES.index(Site("residual", 0, -1, "steps"))])
    # With another pair of texts that also differ elsewhere, it is not fixed.
    wider = [*a.pairs[1:], replace(a.pairs[0], clean=(7, 2))]
    assert not SITES[first].fixed_by(wider)


def test_only_sites_that_are_fixed_allow_no_comparison():
    clean, other, shares = drawn(np.random.default_rng(10), 8)
    columns = [index for index, site in enumerate(SITES) if site.by_construction]
    a, b = (
        replace(
            student(name, clean, other, shares),
            sites=[SITES[index] for index in columns],
            effects=[
                replace(each, changes=each.changes[columns]) for each in student(name, clean, other, shares).effects
            ],
        )
        for name in "ab"
    )
    assert "by construction, so nothing can differ" in _change_sentence(Group("b", [b], a), 0)


def test_differences_that_are_rounding_errors_are_zero():
    random, site = np.random.default_rng(8), SITES.index(Site("head", 1, 1, "all"))
    clean, other, shares = drawn(random, 12)
    # Scores are the same, and one share is larger by 0.00005 nats in every problem.
    more = shares.copy()
    more[:, site] += 5e-5 / (clean - other)
    a, b = student("a", clean, other, shares), student("b", clean, other, more)
    group = Group("b", [b], a)
    for measure in ("effect", "nats"):
        assert (group.values(measure) == 0).all()
        assert group.p(measure, 0)[site] == 1
    more[:, site] += 5e-3 / (clean - other)
    group = Group("b", [student("b", clean, other, more)], a)
    assert (group.values("effect")[..., site] > 0).all()
    assert group.p("effect", 0)[site] < 0.05


def test_the_largest_shares_are_named_for_what_they_are():
    random = np.random.default_rng(9)
    clean, other, shares = drawn(random, 12)
    shares[:] = 0.01
    for site, share in {
        Site("residual", 0, -1, "steps"): 0.9,
        Site("residual", 1, -1, "question"): 2.0,
        Site("residual", 3, -1, "answer"): 0.8,
        Site("head", 2, 5, "all"): -0.7,
    }.items():
        shares[:, SITES.index(site)] = share
    runs, parts, largest = _group_sentences(Group("a", [student("a", clean, other, shares)]))
    assert "prefers the original problem's answer in 12 of 12 original runs" in runs
    assert parts.startswith(
        "a: before layer 0, the residual stream carries the largest share of the difference between the runs at the "
        "words of the steps (0.90, 0.90 to 0.90); before layer 3, at the position of the answer ("
    )
    assert "patched at all positions, layer 2, head 5 has the largest effect of the patched heads (-0.70" in largest
    many = student("a", np.ones(1234), -np.ones(1234), np.ones((1234, len(SITES))))
    assert "in 1,234 of 1,234 original runs" in next(_group_sentences(Group("a", [many])))


@pytest.mark.parametrize("problems", [1, 5, 6])
def test_which_sites_carry_most_is_not_said_of_too_few_problems(problems):
    """Problems that the student does not tell apart do not count: with these, all would be enough."""
    clean, other, shares = drawn(np.random.default_rng(problems), 12)
    clean[problems:] *= -1
    said = _sentences(clean, other, shares)
    if problems == 6:
        assert "the residual stream carries the largest share" in said[1]
        return
    noun, be = ("problem", "is") if problems == 1 else ("problems", "are")
    (sentence,) = said[1:]
    assert sentence == (
        f"a: {problems} {noun} on which it prefers the right answer in both runs {be} too few to tell which sites "
        "carry most of the difference between the runs; at least 6 are needed."
    )


def test_a_site_that_few_problems_have_is_not_named():
    clean, other, shares = drawn(np.random.default_rng(2), 12)
    rare = [index for index, site in enumerate(SITES) if site.kind == "residual" and site.part == "steps"]
    shares[:, rare] = 9.0
    (sentence,) = [each for each in _sentences(clean, other, shares) if "the residual stream carries" in each]
    assert "the words of the steps" in sentence
    shares[5:, rare] = np.nan
    (sentence,) = [each for each in _sentences(clean, other, shares) if "the residual stream carries" in each]
    assert "the words of the steps" not in sentence


def _sentences(clean, other, shares):
    return list(_group_sentences(Group("a", [student("a", clean, other, shares)])))


def test_students_with_other_sites_are_not_compared():
    random = np.random.default_rng(5)
    a, b = (student(name, *drawn(random, 6)) for name in "ab")
    object.__setattr__(b, "sites", SITES[1:])
    assert shown([b], a) == []
    assert strategies_of([b], a) == []
