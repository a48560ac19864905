"""What stages cost, from shapes: arithmetic by hand, devices, measured rates, and sentences about what does not fit."""

import dataclasses

import pytest

from kdprobe.errors import UsageError
from kdprobe.experiment.costs import devices, runner
from kdprobe.experiment.costs.devices import TABLE, Devices, core, named, parse
from kdprobe.experiment.costs.fit import misfits
from kdprobe.experiment.costs.lengths import TextLengths
from kdprobe.experiment.costs.piece import Piece
from kdprobe.experiment.costs.rates import Rates
from kdprobe.experiment.costs.runner import Efficiency, Runner
from kdprobe.experiment.costs.stages import CostModel
from kdprobe.models.outline.device import machine
from kdprobe.models.outline.room import Lengths
from kdprobe.models.outline.sizes import Sizes


def llama(layers, hidden, inner, heads, rows=128_256):
    """A Llama with 8 key-value heads of 128, written out by hand."""
    values = 8 * 128
    layer = 2 * hidden * heads * 128 + 2 * hidden * values + 3 * hidden * inner + 2 * hidden
    matrix = rows * hidden
    linear = {
        f"model.layers.{index}.self_attn.{name}": shape
        for index in range(layers)
        for name, shape in (("q_proj", (hidden, heads * 128)), ("k_proj", (hidden, values)))
    }
    return Sizes(
        layers, hidden, heads, 8, 128, inner, rows, layers * layer + hidden + 2 * matrix, matrix, matrix,
        tied=False, routed=0, experts=0, used_experts=0, linear=linear,
    )  # fmt: skip


LARGE = llama(126, 16384, 53248, 128)
SMALL = llama(32, 4096, 14336, 32)
PURE = Efficiency(1.0, 1.0, 1.0, 0.0, 1, 0.0, float("inf"), 1.0)
SLOW = dataclasses.replace(TABLE["h100"], half=1.0, single=1.0, bandwidth=float("inf"))
"""One operation per second, and no time for memory: seconds are operations."""


@pytest.fixture
def pure(monkeypatch):
    monkeypatch.setattr(runner, "EAGER_GPU", PURE)
    monkeypatch.setattr(runner, "FUSED_GPU", PURE)


def test_the_published_numbers_of_parameters_come_out():
    assert LARGE.parameters == 405_853_388_800
    assert SMALL.parameters == 8_030_261_248
    assert LARGE.weights(2) / 1e9 == pytest.approx(811.7, abs=0.1)
    assert SMALL.cached(2) == 131_072  # 2 x 32 x 8 x 128 x 2 bytes


def test_experts_that_a_token_does_not_use_cost_memory_but_no_arithmetic():
    sparse = dataclasses.replace(SMALL, routed=4_000_000_000, experts=8, used_experts=2)
    assert sparse.active == SMALL.body - 3_000_000_000
    assert sparse.touched(1) == pytest.approx(sparse.active)
    assert sparse.touched(1000) == pytest.approx(SMALL.body)
    assert sparse.weights(2) == SMALL.weights(2)


def test_quantised_weights_take_their_bits_and_the_output_matrix_does_not():
    packed = dataclasses.replace(LARGE, bits=8.0)
    assert packed.weights(2) == packed.body + 2 * 2 * packed.head


def test_an_adapter_has_a_rank_times_both_widths_of_each_named_module():
    assert SMALL.lora(8, ["q_proj"]) == 32 * 8 * (4096 + 4096)
    assert SMALL.lora(8, None) == 32 * 8 * (4096 + 4096 + 4096 + 1024)


def test_reading_takes_two_operations_per_parameter_and_token_and_attention(pure):
    found = Runner(SMALL, "bfloat16", Devices(SLOW)).reading_seconds(100, 100, 10, 1)
    attention = 4 * 32 * 32 * 128 * 100 * 50
    assert found == pytest.approx(2 * SMALL.body * 100 + 2 * SMALL.head * 10 + attention)
    assert Runner(SMALL, "bfloat16", Devices(SLOW, 4)).reading_seconds(100, 100, 10, 1) == pytest.approx(found / 4)


def test_frozen_weights_take_as_much_again_and_recomputed_activations_a_third_time(pure):
    once = Runner(SMALL, "bfloat16", Devices(SLOW))
    kept, again = (once.training_seconds(100, 1, 0, 1, again=again) for again in (False, True))
    assert kept == pytest.approx(4 * SMALL.body * 100, rel=1e-4)
    assert again / kept == pytest.approx(1.5, rel=1e-4)


def test_a_single_answer_is_as_slow_as_reading_all_weights_for_each_token(monkeypatch):
    monkeypatch.setattr(runner, "EAGER_GPU", PURE)
    h100 = TABLE["h100"]
    found = Runner(SMALL, "bfloat16", Devices(h100)).writing_seconds(1, 1, 100, 1)
    weights = 2 * (SMALL.body + SMALL.head)
    assert found == pytest.approx(101 * weights / h100.bandwidth, rel=0.01)


def test_splitting_a_model_divides_its_memory_and_copies_of_it_do_not():
    split = Runner(LARGE, "bfloat16", Devices(TABLE["h100"], 16), fused=True).running_memory(0, 0, 0)
    copied = Runner(LARGE, "bfloat16", Devices(TABLE["h100"], 16)).running_memory(0, 0, 0)
    assert split - 1.5e9 == pytest.approx(LARGE.weights(2) / 16)
    assert copied - 1.5e9 == pytest.approx(LARGE.weights(2))


def test_a_chunk_of_logits_is_as_large_as_in_training():
    from kdprobe.models.lm_head import CHUNK_BYTES

    assert runner.CHUNK == CHUNK_BYTES


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [("h100", "h100", 1), ("H100 x 16", "h100", 16), ("a100-40gb x2", "a100-40gb", 2), ("cpu x 8", "cpu", 8)],
)
def test_devices_are_a_name_and_a_number(text, name, count):
    found = parse(text)
    assert (found.model.name, found.count) == (name, count)


@pytest.mark.parametrize("text", ["h10", "", "h100 x 0", "16", "h100 x"])
def test_other_devices_are_refused_with_those_that_there_are(text):
    with pytest.raises(UsageError, match=r"There is no device") as refused:
        parse(text)
    assert "h100" in refused.value.hint


def test_a_drivers_title_names_a_device():
    assert named("NVIDIA H100 80GB HBM3").name == "h100"
    assert named("NVIDIA A100-SXM4-40GB").name == "a100-40gb"
    assert named("NVIDIA A100-SXM4-80GB").name == "a100"
    assert named("NVIDIA GeForce RTX 4090").name == "rtx-4090"
    assert named("Tesla K80") is None


def test_a_core_is_as_fast_as_its_clock_and_vectors(monkeypatch, tmp_path):
    cpu, memory = tmp_path / "cpuinfo", tmp_path / "meminfo"
    cpu.write_text("model name : X\ncpu MHz\t\t: 2000.0\nflags\t\t: sse avx2\n")
    memory.write_text("MemTotal:       1000 kB\n")
    monkeypatch.setattr(devices, "_PROCESSORS", cpu)
    monkeypatch.setattr(devices, "_MEMORY", memory)
    core.cache_clear()
    try:
        found = core()
    finally:
        core.cache_clear()
    assert (found.single, found.memory) == (2 * 2 * 8 * 2e9, 1_024_000)
    assert found.half < found.single


LENGTHS = Lengths(100.0, 150.0)
TEXTS = TextLengths({"none": LENGTHS}, {"none": LENGTHS}, LENGTHS, LENGTHS, LENGTHS, LENGTHS)
MODEL = CostModel(SMALL, LARGE, TEXTS, 200.0, 200.0, served=None, fused=False, budgets=(512, 512))
LORA = {"rank": 8, "target_modules": ["q_proj"]}


def transfer(units=100, **teacher):
    about = {"teacher": "transformers", "model": {"digest": "t"}, "dtype": "bfloat16", "batch_size": 10, **teacher}
    sampling = {"max_new_tokens": 512, "top_logprobs": 64}
    environment = {"device": "cpu", "threads": 1}
    settings = {"teacher": about, "sampling": sampling, "texts": None, "environment": environment}
    return Piece("transfer", settings, units, "none")


def distill(batch_size, units=100, dtype="bfloat16", **changed):
    options = {"batch_size": batch_size, "lora": LORA, **changed}
    return Piece("distill", {"distiller": {"plugin": "logits"}, "options": options, "dtype": dtype}, units, "none")


def evaluate(batch_size, units=1319, dtype="auto"):
    return Piece("evaluate", {"protocol": {"dtype": dtype, "batch_size": batch_size}}, units)


def test_the_tokens_of_a_stage_are_counted():
    asked = MODEL.use(transfer(), Devices(TABLE["h100"], 16))
    assert (asked.read, asked.written) == (10_000, 20_000)
    read = MODEL.use(dataclasses.replace(transfer(), follows=True), Devices(TABLE["h100"]))
    assert (read.read, read.written) == (30_000, 0)
    assert MODEL.use(distill(8), Devices(TABLE["h100"])).read == 30_000
    assert MODEL.use(dataclasses.replace(transfer(), settings=transfer().settings | {"parts": 4}), None).seconds == 1


def test_answers_take_their_prompts_and_a_step_for_each_token_and_gold_solutions_are_read(pure):
    """Four prompts of 100 tokens and answers of 200, two at a time; solutions have 100."""
    attention = 4 * 32 * 32 * 128
    prompts = 2 * SMALL.active * 400 + attention * 400 * 50 + 2 * SMALL.head * 4
    step = 2 * (SMALL.active + SMALL.head) * 2 + attention * 2 * 200
    gold = 2 * SMALL.active * 800 + attention * 800 * 100 + 2 * SMALL.head * 400
    evaluation = MODEL.use(evaluate(2, 4), Devices(SLOW))
    assert evaluation.seconds == pytest.approx(prompts + 400 * step + gold)
    asked = dataclasses.replace(MODEL, teacher=SMALL).use(transfer(4, batch_size=2), Devices(SLOW))
    assert asked.seconds == pytest.approx(prompts + 400 * step)


def test_an_engine_loads_its_teacher_writes_given_texts_and_takes_its_own_batch(pure):
    """Four prompts of 100 tokens; solutions have 100, one step each whether four are written or forced."""
    engine = dataclasses.replace(MODEL, teacher=SMALL, fused_teacher=True)
    about = transfer(4, answers_at_once=4, batch_size=None)
    given = dataclasses.replace(about, settings=about.settings | {"texts": {"texts": "gold"}})
    attention = 4 * 32 * 32 * 128
    prompts = 2 * SMALL.active * 400 + attention * 400 * 50 + 2 * SMALL.head * 4
    step = 2 * (SMALL.active + SMALL.head) * 4 + attention * 4 * 150
    use = engine.use(given, Devices(SLOW))
    assert (use.read, use.written) == (400, 400)
    assert use.seconds == pytest.approx(prompts + 100 * step)


def test_an_engine_loads_its_teacher_and_a_server_has_it_already():
    h100 = parse("h100 x 2")
    engine = dataclasses.replace(MODEL, teacher=SMALL, fused_teacher=True)
    served = dataclasses.replace(MODEL, teacher=SMALL, served=10)
    loading = runner.Runner(SMALL, "bfloat16", h100, fused=True).load_seconds
    assert loading > 1
    assert engine.use(transfer(), h100).seconds == pytest.approx(served.use(transfer(), h100).seconds + loading)


def test_what_shapes_do_not_tell_is_left_open():
    other = dataclasses.replace(distill(8), settings={**distill(8).settings, "distiller": {"plugin": "mine"}})
    for piece in (other, Piece("task", {}, 100)):
        assert MODEL.use(piece, Devices(TABLE["h100"])) is None
    assert dataclasses.replace(MODEL, teacher=None).use(transfer(), Devices(TABLE["h100"])) is None


def test_a_teacher_that_does_not_fit_is_told_with_what_would():
    served = dataclasses.replace(MODEL, served=64)
    assert [*misfits([("transfer", served.use(transfer(), parse("h100 x 16")))])] == []
    (said,) = misfits([("transfer", served.use(transfer(), parse("h100 x 8")))])
    assert said == (
        "The teacher needs 812 GB in bfloat16 (transfer), and 8 H100s hold 640 GB: use 16 H100s, or use 8-bit weights "
        "(410 GB)."
    )
    (alone,) = misfits([("transfer", MODEL.use(transfer(), parse("h100 x 8")))])
    assert "and one H100 holds 80 GB: use a smaller model." in alone


def test_a_student_whose_weights_fit_but_not_with_what_is_beside_them_is_told_with_both():
    """The distiller `published` also holds the teacher."""
    piece = distill(8)
    piece.settings["distiller"]["plugin"] = "published"
    use = dataclasses.replace(MODEL, teacher=SMALL).use(piece, parse("rtx-4090"))
    assert use.runner.weights < 24e9 < use.fixed
    (said,) = misfits([("distill", use)])
    assert said.startswith(
        "The student and everything else that stays in memory need "
        f"{use.fixed / 1e9:.0f} GB in bfloat16 (distill), and one RTX 4090 holds 24 GB: "
    )


@pytest.mark.parametrize(
    ("device", "memory"),
    [("cpu", "and this machine has 1.0 GB of memory: "), ("apple-m", "an Apple M machine is assumed to have 16 GB of")],
)
def test_a_core_has_the_memory_of_its_machine(device, memory, monkeypatch):
    here = dataclasses.replace(TABLE["h100"], name="cpu", memory=1e9)
    monkeypatch.setattr("kdprobe.experiment.costs.devices.core", lambda: here)
    packed = dataclasses.replace(MODEL, teacher=dataclasses.replace(LARGE, bits=4.5))
    (said,) = misfits([("transfer", packed.use(transfer(), parse(device)))])
    assert memory in said
    assert " GB with 4.5-bit weights (transfer), and " in said


def test_batches_that_do_not_fit_are_told_with_the_largest_that_does():
    piece, h100 = distill(32), parse("h100")
    (said,) = misfits([("distill", MODEL.use(piece, h100))])
    assert said.startswith("Training in batches of 32 needs up to ")
    assert "set distill.options.batch_size = " in said
    fits = int(said.partition("batch_size = ")[2].split()[0])
    assert MODEL.use(distill(fits), h100).memory <= 80e9 < MODEL.use(distill(fits + 1), h100).memory
    (said,) = misfits([("evaluate", MODEL.use(evaluate(2000), h100))])
    assert "set evaluation.batch_size = " in said


def test_gradient_checkpointing_takes_less_memory_and_more_time():
    kept, again = (
        MODEL.use(distill(8, **options), parse("h100")) for options in ({}, {"gradient_checkpointing": True})
    )
    assert (again.memory - again.fixed) < 0.2 * (kept.memory - kept.fixed)
    assert again.fixed == kept.fixed
    assert kept.seconds < again.seconds < 1.5 * kept.seconds


def test_a_student_that_does_not_fit_points_to_a_device_that_holds_it():
    (said,) = misfits([("distill", MODEL.use(distill(1, dtype="float32"), parse("rtx-4090")))])
    assert said.startswith("The student needs 32 GB in float32 (distill), and one RTX 4090 holds 24 GB: use one ")
    device = next(each for each in TABLE.values() if f"use one {each.title} per process, or divide" in said)
    assert ", or divide it among 4 RTX 4090s with FSDP2, or set" in said
    assert device.memory > SMALL.weights(4)
    fewer = dataclasses.replace(SMALL, bits=8.0).weights(4)
    assert said.endswith(f', or set student.quantization = "int8" ({fewer / 1e9:.0f} GB).')


def test_slices_of_a_student_take_less_memory_than_copies():
    """Slices of everything but the output matrix, two whole layers, and the whole embeddings."""
    copied, sliced = (Runner(SMALL, "bfloat16", Devices(TABLE["h100"], 4), shards=shards) for shards in (1, 4))
    matrix, layer = 128_256 * 4096, SMALL.body / 32
    held = (SMALL.parameters - matrix) / 4 + matrix + matrix + 2 * layer
    assert sliced.weights_in_training == 2 * held
    assert copied.weights_in_training == 2 * SMALL.parameters
    one, four = (each.training_memory(2, 512, 1000, again=False) for each in (copied, sliced))
    assert one - four == pytest.approx(2 * (SMALL.parameters - held) + 16 * (1000 - 250))


def test_a_tied_matrix_is_counted_once_and_never_gathered():
    tied = dataclasses.replace(SMALL, tied=True, parameters=SMALL.parameters - SMALL.head)
    held = tied.body / 4 + tied.head + 2 * tied.body / 32
    assert Runner(tied, "float32", Devices(TABLE["h100"], 4), shards=4).weights_in_training == 4 * held


def test_processes_share_the_passes_over_examples(monkeypatch):
    monkeypatch.setattr(runner, "EAGER_GPU", dataclasses.replace(PURE, layer=1e12))
    one, two = distill(8), distill(8)
    two.settings["processes"] = 2
    assert MODEL.use(one, Devices(SLOW)).seconds > 1.8 * MODEL.use(two, Devices(SLOW, 2)).seconds


def manifest(piece, seconds, **changed):
    made = {"kind": piece.kind, "settings": piece.settings, "units": piece.units, "inputs": [], "seconds": seconds}
    return {**made, "resumed": False, "machine": machine(), **changed}


def test_rates_of_finished_stages_correct_what_shapes_predict():
    held = parse("cpu")
    predicted = MODEL.use(transfer(), held).seconds

    def rate(*manifests, piece=None):
        return Rates(manifests, MODEL, lambda *_: held).of(piece or transfer(units=7))

    found = rate(manifest(transfer(), 3 * predicted), manifest(transfer(units=1), 0.0))
    assert found.basis == 2
    assert 2 < found.factor < 3
    assert rate(manifest(transfer(), 3 * predicted)).factor == pytest.approx(3)
    assert rate(manifest(transfer(), 1.0, resumed=True)) is None
    assert rate(manifest(transfer(), 1.0, machine="another")) is None
    assert rate(manifest(transfer(model={"digest": "other"}), 1.0)) is None
    assert rate(manifest(transfer(), 1.0), piece=dataclasses.replace(transfer(), follows=True)) is None
    assert rate() is None


def test_a_stage_with_shorter_answers_is_compared_with_shorter_answers():
    short = transfer()
    short.settings["sampling"]["max_new_tokens"] = 50
    held = parse("cpu")
    predicted = dataclasses.replace(MODEL, answer=50.0).use(short, held).seconds
    found = Rates([manifest(short, predicted)], MODEL, lambda *_: held).of(transfer())
    assert found.factor == pytest.approx(1)


@pytest.mark.parametrize("kind", ["fused", "spread"])
def test_cores_share_one_memory(kind):
    one, eight = (Runner(SMALL, "float32", Devices(core(), count), **{kind: True}) for count in (1, 8))
    assert eight.running_memory(2, 100, 100) == one.running_memory(2, 100, 100) > SMALL.weights(4)
    assert eight.most_rows(100) == one.most_rows(100)


def test_a_spread_model_is_compared_with_all_devices_which_take_turns(pure):
    spread = dataclasses.replace(MODEL, spread_teacher=True)
    (said,) = misfits([("transfer", spread.use(transfer(), parse("h100 x 8")))])
    assert "8 H100s hold 640 GB" in said
    assert "use 16" not in said  # a machine has 8
    (said,) = misfits([("evaluate", MODEL.use(evaluate(1, dtype="float32"), parse("rtx-4090")))])
    assert 'spread it over 2 RTX 4090s with student.device_map = "auto"' in said
    one, two = (
        Runner(SMALL, "bfloat16", Devices(SLOW, count), spread=True).reading_seconds(9, 9, 9, 1) for count in (1, 2)
    )
    assert one == two
    held, split = (
        Runner(LARGE, "bfloat16", Devices(TABLE["h100"], 16), spread=each).running_memory(0, 0, 0)
        for each in (False, True)
    )
    assert split - 1.5e9 == pytest.approx((held - 1.5e9) / 16 + 2 * max(LARGE.body / 126, LARGE.head))
