"""What devices can do: arithmetic, memory bandwidth and memory, from their makers' data sheets.

Peaks are those of dense matrices. What a program reaches of them is in `kdprobe.experiment.costs.runner`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kdprobe.errors import UsageError
from kdprobe.host.suggestions import suggested

_GPUS = Path("/proc/driver/nvidia/gpus")
_PROCESSORS = Path("/proc/cpuinfo")
_MEMORY = Path("/proc/meminfo")
_STATED = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*?)(?:\s*x\s*(?P<count>[1-9]\d{0,5}))?", re.IGNORECASE)
_CORE_GHZ = 2.5
"""Clock of a core where the system does not state it."""


@dataclass(frozen=True)
class DeviceModel:
    """A model of GPU, or one core of a CPU.

    Attributes:
        name: Its name in configs.
        title: Its name in sentences.
        half: Peak FLOP/s in bfloat16.
        single: Peak FLOP/s in float32.
        bandwidth: Bytes per second between it and its memory.
        memory: Bytes of its memory; for a core, of the machine's.
        source: Where the numbers are from.
    """

    name: str
    title: str
    half: float
    single: float
    bandwidth: float
    memory: float
    source: str

    @property
    def is_cpu(self) -> bool:
        """Whether it is a core of a CPU."""
        return self.name in {CPU, APPLE}


CPU, APPLE = "cpu", "apple-m"
_TERA, _GIGA = 1e12, 1e9


def _device(name: str, title: str, numbers: tuple[float, float, float, float], source: str) -> DeviceModel:
    """A device by its TFLOP/s in bfloat16 and float32, its GB/s, and its GB."""
    half, single, bandwidth, memory = numbers
    return DeviceModel(name, title, half * _TERA, single * _TERA, bandwidth * _GIGA, memory * _GIGA, source)


TABLE = {
    device.name: device
    for device in (
        _device("b200", "B200", (2250, 75, 8000, 180), "NVIDIA DGX B200 data sheet, per GPU"),
        _device("h200", "H200", (989, 67, 4800, 141), "NVIDIA H200 data sheet, SXM"),
        _device("h100", "H100", (989, 67, 3350, 80), "NVIDIA H100 data sheet, SXM"),
        _device("a100", "A100", (312, 19.5, 2039, 80), "NVIDIA A100 data sheet, 80 GB SXM"),
        _device("a100-40gb", "A100 40GB", (312, 19.5, 1555, 40), "NVIDIA A100 data sheet, 40 GB"),
        _device("l40s", "L40S", (362, 91.6, 864, 48), "NVIDIA L40S data sheet"),
        _device("rtx-4090", "RTX 4090", (165.2, 82.6, 1008, 24), "NVIDIA Ada GPU architecture whitepaper"),
        _device("rtx-3090", "RTX 3090", (71, 35.6, 936, 24), "NVIDIA Ampere GA102 whitepaper"),
        # 4 pipes of 4 float32 multiply-adds at 3.2 GHz; kdprobe does not use the GPU of these chips.
        _device(APPLE, "Apple M core", (0.102, 0.102, 17, 16), "M1: pipes, clock, a quarter of the bandwidth"),
    )
}  # fmt: skip
"""Device models by name; the core of this machine's CPU is `cpu`."""


@dataclass(frozen=True)
class Devices:
    """Several devices of one model that share a piece of work.

    Attributes:
        model: The model.
        count: How many.
    """

    model: DeviceModel
    count: int = 1

    @property
    def words(self) -> str:
        """Such as `H100 x 16`."""
        return f"{self.model.title} x {self.count}" if self.count > 1 else self.model.title


def parse(text: str) -> Devices:
    """Devices as a config states them, such as `h100 x 16`.

    Raises:
        UsageError: There is no such device in the table.
    """
    found = _STATED.fullmatch(text.strip())
    name = found["name"].lower() if found else text
    known = {**TABLE, CPU: core()}
    if found is None or name not in known:
        raise UsageError(
            f"There is no device {text!r}.",
            suggested(name, known) or f'Write a name and a number, such as "h100 x 8". Available: {", ".join(known)}.',
        )
    return Devices(known[name], int(found["count"] or 1))


def named(title: str) -> DeviceModel | None:
    """The device in the table that a driver calls by this title, such as `NVIDIA H100 80GB HBM3`."""
    words = title.lower().replace(" ", "-")
    # The longest name first: an A100 with 40 GB is not one with 80.
    name = next((name for name in sorted(TABLE, key=len, reverse=True) if name in words), None)
    return TABLE["a100-40gb" if name == "a100" and "40gb" in words else name] if name else None


def installed() -> DeviceModel | None:
    """The GPU of this machine, if the driver names one that is in the table; torch is not asked."""
    for file in sorted(_GPUS.glob("*/information")):
        title = re.search(r"Model:\s*(.+)", file.read_text(encoding="utf-8", errors="replace"))
        if title and (found := named(title[1])):
            return found
    return None


@cache
def core() -> DeviceModel:
    """A core of this machine's CPU.

    Its peak is its clock times the float32 operations of a cycle: two multiply-adds of the vector width. Half precision
    runs twice as fast with its own instructions, and much slower without.
    """
    text = _PROCESSORS.read_text(encoding="utf-8") if _PROCESSORS.is_file() else ""
    flags = set(found[1].split() if (found := re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)) else ())
    clock = (
        float(found[1]) / 1000 if (found := re.search(r"^cpu MHz\s*:\s*([\d.]+)", text, re.MULTILINE)) else _CORE_GHZ
    )
    lanes = 16 if "avx512f" in flags else 8 if "avx2" in flags else 4
    single = 2 * 2 * lanes * clock * _GIGA
    half = single * (2 if flags & {"amx_bf16", "avx512_bf16"} else 0.2)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _MEMORY.read_text() if _MEMORY.is_file() else "", re.MULTILINE)
    size = int(memory[1]) * 1024 if memory else _system_memory()
    return DeviceModel(
        CPU, "CPU core", half, single, 12 * _GIGA, size, "clock and vector width as reported by the system"
    )


def _system_memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (OSError, ValueError, AttributeError):
        return 16 * _GIGA
