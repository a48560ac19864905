"""What analyses take: their passes counted by hand in a model of two layers, and which of them are known."""

import dataclasses

import pytest

from kdprobe.experiment.costs import analysing
from kdprobe.experiment.costs.analyses import ANALYSES
from kdprobe.experiment.costs.bill import _cost
from kdprobe.experiment.costs.devices import TABLE, Devices, parse
from kdprobe.experiment.costs.lengths import TextLengths
from kdprobe.experiment.costs.piece import Piece
from kdprobe.experiment.costs.rates import Rates
from kdprobe.experiment.costs.stages import CostModel
from kdprobe.experiment.costs.work import KL, LOG, Subject, Work
from kdprobe.experiment.foresight.estimates import Estimate
from kdprobe.models.outline.device import machine
from kdprobe.models.outline.room import Lengths
from kdprobe.models.outline.sizes import Sizes
from kdprobe.probing.built_in import BUILT_IN

ARMS = [["untrained", "untrained", 0], ["a@0", "a", 0]]
PROJECTIONS, OUTPUTS = 2 * 2 * 8 * 4 * (2 + 1), 2 * 8 * 4 * 2
LINEAR = {f"model.layers.{layer}.{name}": (8, 8) for layer in (0, 1) for name in ("self_attn.q_proj", "mlp.up_proj")}
SIZES = Sizes(2, 8, 2, 1, 4, 16, 50, 1400, 400, 400, tied=True, routed=0, experts=0, used_experts=0, linear=LINEAR)
"""Two layers of two heads; 1,000 parameters that a token is multiplied with."""
SWEEP = {"problems": 2, "exact": 1, "together": 1, "folds": 2, "random_sets": 3, "same_layers": False}
NORMS = 8 * 4 * OUTPUTS / 1000


def subject(options=(), tested=4, arms=ARMS, batch=4):
    """Prompts of 10 tokens, solutions of 6, answers of 20."""
    return Subject(dict(options), arms, tested, batch, SIZES, 10.0, 6.0, 16.0, 20.0, primed=(None, 25.0), taught=8.0)


def work(name, tested=4, arms=ARMS, **options):
    return ANALYSES[name](subject({**DEFAULTS.get(name, {}), **options}, tested, arms))


DEFAULTS = {
    "ablation": SWEEP,
    "patching": {**SWEEP, "into": ["first", "student"]},
    "circuits": {"problems": 2, "exact": 1, "folds": 2, "layers": False},
    "contrast": {"problems": 2, "layers": "all", "heads": "none", "reads": "steps"},
    "drift": {"neutral": ["x", "y"], "samples": 2, "max_new_tokens": 5, "batch_size": 32},
    "shapley": {"problems": 2, "orders": 2},
    "priming_map": {"problems": 2},
    "priming_heads": {"problems": 2, "neutral": 4},
    "priming_gain": {"problems": 2},
}


def test_every_built_in_analysis_has_its_work():
    assert set(ANALYSES) == {name for name, *_ in BUILT_IN}


def test_a_layer_drawn_at_random_leaves_three_quarters_of_two():
    assert subject().upper() == (1 + 1 / 2) / 2
    assert subject().upper(2) == (1 + 3 / 4) / 2


@pytest.mark.parametrize(
    ("name", "options", "read", "passes", "rows"),
    [
        ("heads", {"control": 3}, (2 + 3) * 4 * 16, 5, 0),
        ("divergence", {}, 2 * 4 * 16, 2, 0),
        ("association", {}, 2 * 4 * 16, 2, 0),
        ("attention", {"heads": []}, 2 * 2 * 16, 4, 0),
        ("attention", {"heads": [[0, 1]]}, 2 * 16, 2, 0),
        ("confidence", {}, 2 * 4 * 30, 2, 2 * 4 * 20),
        # 12 texts of 15 tokens: by the untrained model, by the student, and the student's own by both.
        ("drift", {}, 4 * 12 * 15, 4 * 3, 4 * 12 * 5),
        ("output_divergence", {}, 2 * 4 * 16, 8, 2 * 4 * 16),
        ("logit_lens", {"problems": 3}, 2 * 3 * 16, 6, 2 * 3 * 6 * 3),
        ("geometry", {}, NORMS, 0, 0),
        ("attribution", {"problems": 3}, 2 * 3 * 16, 6, 2 * 3 * 6),
        ("shapley", {}, 2 * 2 * 2 * 8.5 * 16, 2 * 2 * 2 * 8.5 / 4, 2 * 2 * 2 * 8.5 * 6),
        ("priming_map", {}, 2 * (18 + 18 + 33), 2 * 3, 2 * 2 * 2 * 8),
        # The primed and four neutral prompts, three at a time beside the bare one.
        ("priming_heads", {}, 2 * (18 + (5 + 2) * 33), 2 * (1 + 2), 0),
        ("priming_gain", {}, 2 * (16 + 31), 4, 2 * 2 * 6),
    ],
)
def test_passes_of_analyses_that_read_whole_texts(name, options, read, passes, rows):
    found = work(name, **options)
    assert (found.read, found.passes, found.rows) == pytest.approx((read, passes, rows))
    assert found.sloped == 0


def test_students_that_are_compared_with_each_other_are_read_again():
    """Two trained students: both with the untrained one, and the second with the first."""
    found = work("output_divergence", arms=[*ARMS, ["b@0", "b", 0]], pairs=True)
    assert (found.read, found.rows) == ((3 + 2) * 4 * 16, 3 * 2 * 4 * 16)


def test_divergences_of_distributions_move_vectors_as_long_as_the_vocabulary():
    assert work("logit_lens").vectors == 2 * 4 * 6 * (LOG + 2 * (LOG + KL))
    assert work("drift").vectors == 2 * 12 * 5 * (2 * LOG + KL)


def test_ablation_screens_replaces_heads_and_sets_and_compares_them_with_random_ones():
    found = work("ablation", students=["a"])
    side_by_side, clean, alone = 2 * 2 * 16, 3 * 2 * 16, 2 * 2 * 0.75 * 16
    # All heads on both problems; the top on the second fold, those that moved, and three random sets on both.
    sets = 2 * 16 + (1 + 2 + 3 * 2) * 0.75 * 16
    products = 2 * 16 * 2 * 2 * OUTPUTS / 1000
    assert found.read == pytest.approx(side_by_side + clean + alone + sets + products + NORMS)
    assert found.rows == (3 * 2 + 2 * 2 + 2 + 9) * 6
    # One forward and two backward passes for each problem.
    assert (found.sloped, found.sloped_passes, found.sloped_rows) == (1.5 * 2 * 16, 3, 1.5 * 2 * 6)
    assert (found.merged, found.bridged) == (1, 2)


def test_the_untrained_student_has_no_heads_that_moved():
    alone = work("ablation", students=["untrained"])
    assert alone.read == pytest.approx(3 * 32 + 0.75 * 32 + 32 + (1 + 3) * 0.75 * 16 + 4 * 16 * 2 * OUTPUTS / 1000)
    assert (alone.merged, alone.bridged) == (0, 0)


def test_ablation_evaluates_three_times_the_problems_that_heads_were_not_selected_on():
    assert work("ablation", students=["a"], accuracy=True, max_new_tokens=9).answers == 3 * 2
    assert work("ablation", 2, students=["a"], accuracy=True, max_new_tokens=9).answers == 3 * 2
    assert work("ablation", students=["a"], accuracy=True, max_new_tokens=9).new == 9


def test_patching_sweeps_in_both_directions():
    found = work("patching")
    sweep = 2 * 32 + 0.75 * 32 + 32 + (1 + 3) * 0.75 * 16 + 4 * 16 * 2 * OUTPUTS / 1000
    assert found.read == pytest.approx(2 * 32 + 2 * sweep)
    assert work("patching", into=["first"]).read == pytest.approx(2 * 32 + sweep)
    assert found.sloped == 2 * 48


def test_circuits_switch_groups_and_single_ones_in_both_models():
    found = work("circuits")
    products = 2 * 2 * 16 * (2 * PROJECTIONS + 2 * OUTPUTS) / 1000
    # Scores and two clean passes, Q, K, V, O and all of attention, and one circuit; the student's heads for patching.
    assert found.read == pytest.approx(2 * (3 + 5 + 0.75) * 32 + 32 + products + NORMS)
    assert found.rows == 2 * (3 + 5 + 1) * 12 + 12
    assert found.sloped == 3 * 48
    assert work("circuits", layers=True).read - found.read == pytest.approx(2 * 2 * 0.75 * 32)
    both = ANALYSES["circuits"](dataclasses.replace(subject(DEFAULTS["circuits"]), changes_mlps=True))
    assert both.read - found.read == pytest.approx(2 * 2 * 32)


def test_contrast_patches_parts_from_their_layer_and_their_first_position_on():
    """Two parts from half of the prompt on, four within the steps, and the position of the answer."""
    parts, everywhere = 2 * 11 + 4 * 6 + 1, 11
    once = 1.5 * (2 * parts + everywhere) + 1.5 * everywhere + 2 * 16 + 3 * (5 + 2 * 11)
    assert work("contrast").read == pytest.approx(2 * 2 * once)
    heads = work("contrast", heads="all_positions").read - work("contrast").read
    assert heads == pytest.approx(2 * 2 * 1.5 * 2 * everywhere)


def tokens(name, problems=4, students=1):
    """Tokens that are read, with gradients or not, by this many trained students."""
    options = DEFAULTS.get(name, {})
    options = {**options, "problems": problems} if "problems" in options else options
    arms = [ARMS[0], *([f"a@{seed}", "a", seed] for seed in range(students))]
    found = ANALYSES[name](subject(options, problems, arms))
    return found.read + found.sloped


@pytest.mark.parametrize("name", sorted(set(ANALYSES) - {"attention", "geometry"}))
def test_twice_as_many_problems_take_twice_as_much(name):
    assert tokens(name, 8) > tokens(name, 4)
    assert tokens(name, 8) - tokens(name, 4) == pytest.approx(2 * (tokens(name, 4) - tokens(name, 2)))


@pytest.mark.parametrize("name", sorted(name for name in ANALYSES if not name.startswith("priming")))
def test_twice_as_many_students_take_twice_as_much(name):
    assert tokens(name, students=4) > tokens(name, students=2)
    assert tokens(name, students=4) - tokens(name, students=2) == pytest.approx(
        2 * (tokens(name, students=2) - tokens(name, students=1))
    )


def test_options_limit_problems_and_name_students_and_arms():
    arms = [*ARMS, ["a@1", "a", 1], ["b@0", "b", 0]]
    assert work("attribution", arms=arms, students=["a", "b@0"], problems=3).passes == 3 * 3
    assert work("attribution", arms=arms, problems=9).passes == 4 * 4


def test_works_add_up_but_not_at_their_peak():
    first, second = Work(read=1, answers=1, new=2, batch=4, fixed=5), Work(read=2, answers=3, new=6, batch=2, fixed=7)
    assert first + second == Work(read=3, answers=4, new=5, batch=4, fixed=7)
    assert first.times(3) == Work(read=3, answers=3, new=2, batch=4, fixed=5)


HELD = parse("cpu")
LENGTHS, SHORT = Lengths(10.0, 12.0), Lengths(6.0, 8.0)
TEXTS = TextLengths({"none": LENGTHS, "hint": Lengths(25.0, 30.0)}, {"none": LENGTHS}, LENGTHS, SHORT, LENGTHS, SHORT)
MODEL = CostModel(SIZES, SIZES, TEXTS, 8.0, 20.0, served=None, fused=False, budgets=(8, 20))
TEACHER = {"teacher": "transformers", "model": {"digest": "t"}, "dtype": "float32"}


def analysis(name, tested=4, arms=ARMS, teacher=TEACHER, **options):
    about = {"plugin": name, "format": 1}
    settings = {"analysis": about, "options": {**DEFAULTS.get(name, {}), **options}}
    if name.startswith("priming"):
        teaching = {"strategies": {"none": True, "hint": False}, "prompts": {"bare": {"teacher": teacher}}}
        settings["teaching"] = teaching
        return Piece("analyse", settings, 2 * tested)
    return Piece("analyse", {**settings, "arms": arms, "batch_size": 4}, tested * len(arms))


@pytest.mark.parametrize("name", sorted(ANALYSES))
def test_the_work_of_a_stage_is_that_of_its_settings(name):
    batch = analysing._BATCH if name.startswith("priming") else 4
    use, found = MODEL.use(analysis(name), HELD), ANALYSES[name](subject(DEFAULTS.get(name, {}), batch=batch))
    assert use.read == pytest.approx(found.read + found.sloped + found.answers * found.prompt)
    assert use.written == found.answers * found.new
    assert use.memory > use.runner.weights
    assert use.seconds > use.runner.load_seconds


def test_an_analysis_of_a_plugin_stays_unknown_whatever_its_name():
    mine = analysis("heads")
    named = dataclasses.replace(mine, settings={**mine.settings, "analysis": {"plugin": "heads", "package": "mine"}})
    assert MODEL.use(named, HELD) is None
    assert MODEL.use(analysis("mine"), HELD) is None


def test_a_teacher_that_runs_elsewhere_is_not_read():
    for elsewhere in ({"served": 4}, {"fused_teacher": True}, {"teacher": None}):
        use = dataclasses.replace(MODEL, **elsewhere).use(analysis("priming_map"), HELD)
        assert (use.read, use.runner) == (0, None)


def test_gradients_students_and_transformer_lens_take_their_time(monkeypatch):
    from kdprobe.experiment.costs import runner

    pure = runner.Efficiency(1.0, 1.0, 1.0, 0.0, 1, 0.0, float("inf"), 1.0)
    monkeypatch.setattr(runner, "EAGER_GPU", pure)
    slow = Devices(dataclasses.replace(TABLE["h100"], single=1.0, bandwidth=float("inf")))
    found = work("patching")
    attention = 4 * 2 * 2 * 4 * 16 / 2
    read = found.read * (2000 + attention) + 2 * 400 * found.rows
    sloped = found.sloped * (4000 + 3 * attention) + 4 * 400 * found.sloped_rows
    assert MODEL.use(analysis("patching"), slow).seconds == pytest.approx(read + sloped)
    checked = 2 * 4 * 2 * 64 * (2000 + 4 * 2 * 2 * 4 * 32)
    seconds = MODEL.use(analysis("association"), slow).seconds
    assert seconds == pytest.approx(2 * 4 * 16 * (2000 + attention) + checked + analysing._BRIDGE_SECONDS)


def test_patterns_of_a_batch_are_kept_where_there_is_room():
    roomy = Devices(TABLE["h100"])
    patterns = 2 * 2 * 20**2 * 4
    kept = MODEL.use(analysis("divergence"), roomy).memory - MODEL.use(analysis("association"), roomy).memory
    assert kept == 4 * 2 * patterns
    full = MODEL.use(analysis("association"), roomy).memory
    tight = Devices(dataclasses.replace(TABLE["h100"], memory=full))
    assert MODEL.use(analysis("divergence"), tight).memory - full == 2 * patterns


def test_head_outputs_are_in_main_memory():
    """Two students' outputs of two problems, in two layers of two heads of four."""
    core, gpu = (MODEL.use(analysis("patching"), held) for held in (HELD, Devices(TABLE["h100"])))
    processes = 0.75e9 - 1.5e9
    assert core.fixed - gpu.fixed == pytest.approx(processes + 2 * 2 * 16 * 2 * 2 * 4 * 4)


@pytest.mark.parametrize(
    ("targets", "changed"), [(["q_proj"], False), (["q_proj", "up_proj"], True), ("all-linear", True), (None, False)]
)
def test_what_training_changes_follows_from_the_targets_of_adapters(targets, changed):
    options = {"lora": {"target_modules": targets}} if targets else {}
    stage = Piece("distill", {"options": options}, 1)
    assert analysing.changes_mlps(SIZES, [stage]) is changed


def test_rates_of_an_analysis_serve_other_students_problems_and_options():
    piece = analysis("circuits", problems=2)
    more = analysis("circuits", 8, problems=8, arms=[*ARMS, ["b@0", "b", 0]], exact="all")
    made = {"kind": "analyse", "settings": piece.settings, "units": piece.units, "inputs": ["k"], "resumed": False}
    manifest = {**made, "seconds": 3 * MODEL.use(piece, HELD).seconds, "machine": machine()}
    rates = Rates([manifest], MODEL, lambda *_: HELD)
    assert rates.of(more).factor == pytest.approx(3)
    assert rates.of(analysis("patching")) is None


def test_a_finished_analysis_counts_by_its_work_and_not_by_its_problems():
    """Twice as many problems are tested, but the analysis reads two of them in any case."""
    piece, more = analysis("attribution", 4, problems=2), analysis("attribution", 8, problems=2)
    made = {"kind": "analyse", "settings": piece.settings, "units": piece.units, "inputs": ["k"], "resumed": False}
    rates = Rates([{**made, "seconds": 100.0, "machine": machine()}], MODEL, lambda *_: HELD)
    like = Estimate(seconds=200.0, size=77.0, basis=1, units=8)
    cost = _cost(MODEL.use(more, HELD), HELD, more, like, rates)
    assert cost.seconds == pytest.approx(100)
    assert (cost.basis, cost.based_on, cost.disk) == ("rate", 1, 77)


def test_rates_of_analyses_of_the_teacher_are_those_of_this_teacher():
    piece = analysis("priming_map")
    made = {"kind": "analyse", "settings": piece.settings, "units": piece.units, "inputs": ["k"], "resumed": False}
    rates = Rates([{**made, "seconds": 1.0, "machine": machine()}], MODEL, lambda *_: HELD)
    assert rates.of(analysis("priming_map", 9))
    assert rates.of(analysis("priming_map", teacher={**TEACHER, "model": {"digest": "u"}})) is None
