"""What does not fit into the memory of the planned devices, and what to change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from kdprobe.experiment.costs.devices import CPU, TABLE, DeviceModel
from kdprobe.experiment.costs.piece import Use
from kdprobe.experiment.costs.runner import Runner
from kdprobe.models.outline.sizes import ON_LOAD

_GIGA = 1e9
_BATCH_KEYS = {
    "transfer": "teacher.options.batch_size",
    "distill": "distill.options.batch_size",
    "evaluate": "evaluation.batch_size",
    "analyse": "probe.batch_size",
}
_WORK = {"transfer": "Answering", "distill": "Training", "evaluate": "Evaluation", "analyse": "Analysis"}
_MOST_DEVICES = 64
_NODE = 8
"""GPUs of one machine, over which transformers can spread a model."""
_MAP_KEYS = {
    "transfer": "teacher.options.device_map",
    "evaluate": "student.device_map",
    "analyse": "student.device_map",
}


def misfits(uses: Iterable[tuple[str, Use]]) -> Iterator[str]:
    """A sentence for each kind of stage that does not fit, about its largest stage.

    Args:
        uses: Kinds of stages, and what stages take.
    """
    largest: dict[str, Use] = {}
    for kind, use in uses:
        if use.runner and (kind not in largest or use.memory > largest[kind].memory):
            largest[kind] = use
    for kind, use in largest.items():
        runner = use.runner
        if runner and use.memory > (room := runner.devices.model.memory):
            yield (_too_large if use.fixed > room else _too_many)(kind, use, runner)


def _too_large(kind: str, use: Use, runner: Runner) -> str:
    """The model itself does not fit."""
    devices = runner.devices
    subject = "teacher" if kind == "transfer" else "student"
    split = runner.divided and devices.count > 1
    room = devices.model.memory * (devices.count if runner.divided else 1)
    held = f"{devices.count} {devices.model.title}s hold {_gb(room)}" if split else _held(devices.model)
    counts = ((devices.count if runner.divided else 1) * 2**power for power in range(1, 7))
    enough = next((count for count in counts if _fits_on(use, runner, count)), _MOST_DEVICES + 1)
    ways = []
    if runner.divided and enough <= (_MOST_DEVICES if runner.fused else _NODE):
        ways.append(f"use {enough} {devices.model.title}s")
    if not runner.divided and not devices.model.is_cpu and kind in _MAP_KEYS and enough <= _NODE:
        ways.append(f'spread it over {enough} {devices.model.title}s with {_MAP_KEYS[kind]} = "auto"')
    if not runner.divided and (other := _larger(use.fixed)):
        ways.append(f"use one {other} per process")
    if kind == "distill" and (shards := _enough_shards(use, runner)):
        ways.append(f"divide it among {shards} {devices.model.title}s with FSDP2")
    if fewer := _fewer_bits(kind, runner, room):
        ways.append(fewer)
    advice = ", or ".join(ways) or "use a smaller model"
    how = f"{_precision(runner)} ({kind})"
    if runner.weights > room and runner.shards == 1:
        return f"The {subject} needs {_gb(runner.weights)} {how}, and {held}: {advice}."
    each = " per device" if devices.count > 1 else ""
    return (
        f"The {subject} and everything else that stays in memory need {_gb(use.fixed)}{each} {how}, and "
        f"{_held(devices.model)}: {advice}."
    )


def _enough_shards(use: Use, runner: Runner) -> int | None:
    """The smallest power of two of processes that could share the student and train on one text at a time."""
    if runner.devices.model.is_cpu or runner.sizes.bits is not None:
        return None
    other = use.fixed + (use.memory - use.fixed) / use.batch - runner.weights_in_training
    counts = (2**power for power in range(1, 7))
    room = runner.devices.model.memory - other
    return next((count for count in counts if replace(runner, shards=count).weights_in_training < room), None)


def _fewer_bits(kind: str, runner: Runner, room: float) -> str | None:
    """How to quantise a model that is not quantised, so that it fits."""
    sizes = {name: replace(runner.sizes, bits=bits).weights(runner.width) for name, bits in ON_LOAD.items()}
    enough = next((name for name, size in sizes.items() if size < room), None)
    if enough is None or runner.sizes.bits is not None:
        return None
    if runner.fused:
        return f"use {ON_LOAD[enough]:.0f}-bit weights ({_gb(sizes[enough])})"
    key = "teacher.options.quantization" if kind == "transfer" else "student.quantization"
    return f'set {key} = "{enough}" ({_gb(sizes[enough])})'


def _too_many(kind: str, use: Use, runner: Runner) -> str:
    """The model fits, but not so many texts beside it."""
    device = runner.devices.model
    fits = int((device.memory - use.fixed) / ((use.memory - use.fixed) / use.batch))
    needs = f"{_WORK[kind]} in batches of {use.batch} needs up to {_gb(use.memory)}, and {_held(device)}"
    key = "teacher.options.concurrency" if kind == "transfer" and runner.fused else _BATCH_KEYS[kind]
    if fits >= 1:
        also = " and raise accumulation, to keep the number of examples per optimiser step" if kind == "distill" else ""
        return f"{needs}: set {key} = {fits}{also}."
    other = _larger(use.fixed + (use.memory - use.fixed) / use.batch)
    return f"{needs}: {f'use one {other}' if other else 'use a smaller model'}, with {key} = 1."


def _fits_on(use: Use, runner: Runner, count: int) -> bool:
    shared = use.fixed - runner.weights / (runner.devices.count if runner.divided else 1)
    return shared + runner.weights / count < runner.devices.model.memory


def _larger(memory: float) -> str | None:
    """The smallest device in the table with this memory."""
    enough = [device for device in TABLE.values() if device.memory > memory and not device.is_cpu]
    return min(enough, key=lambda device: device.memory).title if enough else None


def _held(device: DeviceModel) -> str:
    """How much memory a device has; a core has its machine's."""
    if not device.is_cpu:
        return f"one {device.title} holds {_gb(device.memory)}"
    owner = "this machine has" if device.name == CPU else "an Apple M machine is assumed to have"
    return f"{owner} {_gb(device.memory)} of memory"


def _precision(runner: Runner) -> str:
    return f"with {runner.sizes.bits:g}-bit weights" if runner.sizes.bits else f"in {runner.dtype}"


def _gb(count: float) -> str:
    return f"{count / _GIGA:,.0f} GB" if count >= 10 * _GIGA else f"{count / _GIGA:.1f} GB"
