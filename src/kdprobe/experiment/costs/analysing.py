"""What a built-in analysis takes: its work, and the time and memory that follow from it."""

from __future__ import annotations

from collections.abc import Iterable

from kdprobe.experiment.costs.analyses import ANALYSES
from kdprobe.experiment.costs.devices import Devices
from kdprobe.experiment.costs.piece import Known, Piece, Use, of_strategy
from kdprobe.experiment.costs.runner import BYTES, Runner
from kdprobe.experiment.costs.work import Subject, Work
from kdprobe.experiment.stages.stage import Stage
from kdprobe.models.outline.module_names import is_named
from kdprobe.models.outline.sizes import Sizes

_OF_THE_TEACHER = frozenset({"priming_map", "priming_heads", "priming_gain"})
_BRIDGE_SECONDS = 12.0
"""To import TransformerLens, and to check its patterns and logits against those of transformers."""
_CHECKED = 2 * 64
"""Tokens of the texts that this check reads with every student, in four passes."""
_CHECKS = 4
_NOTHING_SECONDS = 1.0
"""For the sentence that says why there is no result."""
_BATCH = 8
"""Of analyses of the teacher, whose settings do not state it."""


def analyse(model: Known, piece: Piece, devices: Devices) -> Use | None:
    """What an analysis takes on these devices, or `None` if its work is not known: that of a plugin."""
    settings = piece.settings
    name = settings["analysis"]["plugin"]
    if name not in ANALYSES or "package" in settings["analysis"]:
        return None
    teaching = settings.get("teaching", {})
    if name in _OF_THE_TEACHER and (
        model.teacher is None or model.served is not None or model.fused_teacher or not teaching["strategies"]
    ):
        # Such a teacher cannot be read here.
        return Use(0, 0, _NOTHING_SECONDS, 0, 0)
    runner = _runner(model, piece, devices)
    of = _subject(model, piece, runner)
    work = ANALYSES[name](of)
    # Tokens that are only read twice, forward and backward, are read.
    read = work.read + work.sloped + work.answers * work.prompt
    fixed = runner.running_memory(0, of.longest, 0) + work.fixed + (work.host if devices.model.is_cpu else 0)
    memory = runner.running_memory(work.batch, of.longest, 0) - runner.running_memory(0, of.longest, 0)
    memory += fixed + work.batch * work.each
    room = devices.model.memory - memory
    memory += min(work.batch * work.kept, max(work.kept, room))
    return Use(read, work.answers * work.new, _seconds(work, runner), memory, 0, runner, work.batch, fixed)


def changes_mlps(student: Sizes, stages: Iterable[Stage]) -> bool:
    """Whether any planned training changes other linear layers than the attention projections."""
    loras = [stage.settings["options"].get("lora") for stage in stages if stage.kind == "distill"]
    targets = [lora["target_modules"] for lora in loras if isinstance(lora, dict) and lora.get("target_modules")]
    others = [name for name in student.linear if "." in name and "attn" not in name and "attention" not in name]
    return any(
        named == "all-linear" or any(is_named(name, each) for name in others for each in named) for named in targets
    )


def _runner(model: Known, piece: Piece, devices: Devices) -> Runner:
    """The model that is read."""
    settings = piece.settings
    if settings["analysis"]["plugin"] in _OF_THE_TEACHER and model.teacher:
        about = settings["teaching"]["prompts"]["bare"]["teacher"]
        return Runner(model.teacher, about.get("dtype", "bfloat16"), devices, spread=model.spread_teacher)
    return Runner(model.student, settings.get("dtype", "float32"), devices, spread=model.spread)


def _subject(model: Known, piece: Piece, runner: Runner) -> Subject:
    """What is examined: test problems with students, or what the teacher read and wrote."""
    settings, texts = piece.settings, model.texts
    arms, strategies = settings.get("arms", ()), settings.get("teaching", {}).get("strategies", {})
    of_tests = bool(arms)
    prompt, solution = (texts.tested, texts.test_solution) if of_tests else (texts.question, texts.solution)
    primed = [None if unprimed else of_strategy(texts.primed, name).mean for name, unprimed in strategies.items()]
    longest = prompt.longest + solution.longest
    return Subject(
        options=settings["options"],
        arms=arms,
        problems=piece.units // len(strategies or arms),
        batch=settings.get("batch_size", _BATCH),
        sizes=runner.sizes,
        prompt=prompt.mean,
        solution=solution.mean,
        longest=longest,
        answer=model.student_answer,
        width=BYTES[runner.dtype],
        changes_mlps=model.changes_mlps,
        primed=primed,
        taught=model.answer,
    )


def _seconds(work: Work, runner: Runner) -> float:
    """Loading, and one kind of pass after the other; adapters are merged at the rate at which weights are loaded."""
    seconds = runner.load_seconds + work.merged * runner.weights / runner.efficiency.load
    if work.bridged:
        passes = work.bridged * _CHECKS
        seconds += _BRIDGE_SECONDS + runner.reading_seconds(passes * _CHECKED, _CHECKED / 2, 0, passes)
    seconds += runner.reading_seconds(work.read, work.length, work.rows, work.passes)
    moved = work.vectors * runner.sizes.vocabulary * BYTES["float32"]
    seconds += moved / (runner.devices.model.bandwidth * runner.efficiency.bandwidth)
    if work.sloped:
        sloped = work.sloped, work.length, work.sloped_rows, work.sloped_passes
        seconds += runner.training_seconds(*sloped, again=False)
    if work.answers:
        seconds += runner.writing_seconds(work.answers, work.prompt, work.new, work.batch)
    return seconds
