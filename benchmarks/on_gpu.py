"""All paths that differ on a GPU, at the size of an 8B student: what plans predict, and what is measured.

    python benchmarks/on_gpu.py [--parts ...] [--json FILE]
    python benchmarks/on_gpu.py --device cpu --shape tiny       # whether the script itself works

Under ten minutes on one GPU with 80 GB; weights are random. Each part runs in a process of its own:

    chunked CE          a training step of a LoRA adapter with cross-entropy in chunks of rows, by torch alone: logits
                        are computed again in the backward pass
    Liger CE            the same with the fused kernel of liger-kernel, if it is installed
    KD                  the same step on a stored top k, through kdprobe's head
    KD, checkpointed    with gradient checkpointing
    capture             answers by `model.generate` with the top k captured at temperatures 1 and 2
    plain               the same without capture
    heads, divergence   eight adapters examined on prompts of 1,024 tokens (the model is written to disk first)

`predicted` is what `kdprobe plan` would say of that work on that device, from shapes; it has no prediction for the
kernels of others. Memory is the allocator's peak, weights included; on a CPU, the process's (Linux).
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import probing
from peak_memory import high_water
from result_file import write_result
from shapes import SHAPES

K, CHUNK = 64, 256
STEPS = ("chunked CE", "Liger CE", "KD", "KD, checkpointed")
DECODED = ("plain", "capture")
PROBED = ("heads", "divergence")
PARTS = (*STEPS, *DECODED, *PROBED)
ADAPTERS, RANK = 8, 8


@dataclass(frozen=True)
class Work:
    """How much each part does, in tokens unless it says otherwise."""

    batch: int = 8
    prompt: int = 150
    response: int = 150
    new: int = 128
    answers: int = 32
    probed: int = 1024
    problems: int = 8


SMALL = Work(batch=2, prompt=12, response=8, new=4, answers=2, probed=80, problems=2)
"""For the script's own test."""


@dataclass(frozen=True)
class Row:
    """Seconds and GiB; a prediction is `None` where a plan has none."""

    seconds: float
    gib: float
    predicted_seconds: float | None
    predicted_gib: float | None


def main() -> None:
    """Prints a row for each part, and the ratio of the KD step to the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--shape", default="llama-3.1-8b", choices=SHAPES)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(asdict(measured(given.one, given))))
        return
    rows: dict[str, Row] = {}
    print(f"{'part':<18}{'s':>9}{'predicted':>11}{'GiB':>8}{'predicted':>11}", flush=True)
    for part in given.parts:
        if part == "Liger CE" and not _installed("liger_kernel"):
            print(f"{part:<18} left out: liger-kernel is not installed")
            continue
        row = rows[part] = in_child(part, given)
        foreseen = [f"{each:.2f}" if each else "" for each in (row.predicted_seconds, row.predicted_gib)]
        print(f"{part:<18}{row.seconds:>9.3f}{foreseen[0]:>11}{row.gib:>8.1f}{foreseen[1]:>11}", flush=True)
    for other in ("chunked CE", "Liger CE"):
        if {"KD", other} <= rows.keys():
            print(f"KD / {other}: {rows['KD'].seconds / rows[other].seconds:.2f} of the time")
    if set(DECODED) <= rows.keys():
        print(f"capture / plain: {rows['capture'].seconds / rows['plain'].seconds:.2f} of the time")
    if given.json:
        asked = {name: getattr(given, name) for name in ("device", "shape", "dtype", "repeats")}
        write_result(given.json, {**asked, "parts": {part: asdict(row) for part, row in rows.items()}})


def in_child(part: str, given: argparse.Namespace) -> Row:
    """`measured` in a process of its own."""
    asked = [f"--{name}={getattr(given, name)}" for name in ("device", "shape", "dtype", "repeats")]
    done = subprocess.run(
        [sys.executable, __file__, *asked, "--one", part], stdout=subprocess.PIPE, text=True, check=True
    )
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def measured(part: str, given: argparse.Namespace) -> Row:
    """One part."""
    work = SMALL if given.shape == "tiny" else Work()
    runner = planned_runner(given, "float32" if part in PROBED else given.dtype)
    seconds: float | None
    memory: float | None
    if part in STEPS:
        work_once, seconds, memory = step(part, given, work, runner)
    elif part in DECODED:
        work_once, seconds, memory = decoding(part, given, work, runner)
    else:
        return examined(part, given, work, runner)
    taken = timed(work_once, given)
    foreseen = (seconds, memory / 2**30) if seconds and memory else (None, None)
    return Row(taken, peak_gib(given), *foreseen)


def step(part: str, given: argparse.Namespace, work: Work, runner: Any) -> tuple[Callable[[], Any], Any, Any]:
    """A training step: forward, backward, AdamW."""
    import torch
    from peft import LoraConfig, get_peft_model

    from kdprobe.distill.objectives import Objective, SparseLogprobs
    from kdprobe.distill.sparse_kd import sparse_kd_loss
    from kdprobe.models.lm_head import lm_head_replaced

    torch.set_default_device(given.device)
    base = probing_model(given)
    model = get_peft_model(base, LoraConfig(r=RANK, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]))
    model.train()
    again = part == "KD, checkpointed"
    if again:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    length, rows = work.prompt + work.response, work.batch * work.response
    ids = torch.randint(base.config.vocab_size, (work.batch, length))
    keep = torch.arange(work.prompt - 1, length - 1)
    targets = ids[:, work.prompt :].reshape(-1)
    # Chunks of the teacher's logits, which need not be in memory together.
    parts = [
        SparseLogprobs.from_logits(torch.randn(work.response, base.config.vocab_size), K) for _ in range(work.batch)
    ]
    teacher = SparseLogprobs(
        *(torch.cat([getattr(each, name) for each in parts]) for name in ("ids", "logprobs", "tail_logmass")), 1.0
    )
    matrix = base.get_output_embeddings().weight.detach()
    optimiser = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-4)

    def loss() -> Any:
        with lm_head_replaced(model):
            hidden = model(input_ids=ids, logits_to_keep=keep, use_cache=False).logits.flatten(0, 1)
        if part == "chunked CE":
            return chunked_cross_entropy(hidden, matrix, targets)
        if part == "Liger CE":
            from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

            return LigerFusedLinearCrossEntropyLoss()(matrix, hidden, targets)
        return sparse_kd_loss(hidden, matrix, targets, teacher, Objective(0.0))["loss"].mean()

    def once() -> None:
        loss().backward()
        optimiser.step()
        optimiser.zero_grad()

    if not part.startswith("KD"):
        return once, None, None
    seconds = runner.training_seconds(work.batch * length, length, rows, 1, again=again)
    adapter = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return once, seconds, runner.training_memory(work.batch, length, adapter, again=again)


def chunked_cross_entropy(hidden: Any, matrix: Any, targets: Any) -> Any:
    """Mean cross-entropy of rows `[rows, d_model]`, with the logits of a chunk of them in memory at a time."""
    import torch
    from torch.utils.checkpoint import checkpoint

    def of_chunk(rows: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy((rows @ matrix.T).float(), labels, reduction="sum")

    chunks = zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True)
    return sum(checkpoint(of_chunk, *chunk, use_reentrant=False) for chunk in chunks) / len(targets)


def decoding(part: str, given: argparse.Namespace, work: Work, runner: Any) -> tuple[Callable[[], Any], float, float]:
    """Answers of the same length, with or without capture."""
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    from kdprobe.teachers.top_k_capture import TopKCapture

    with torch.device(given.device):
        model = probing_model(given).eval()
        prompts = torch.randint(model.config.vocab_size, (work.answers, work.prompt))
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=work.new, pad_token_id=0)

    def once() -> None:
        capture = TopKCapture(K, model.config.vocab_size, (1.0, 2.0)) if part == "capture" else None
        processors = LogitsProcessorList([capture] if capture else [])
        with torch.inference_mode():
            mask = torch.ones_like(prompts)
            sequences = model.generate(prompts, attention_mask=mask, logits_processor=processors)
        if capture:
            capture.finish(sequences)
            for index in range(work.answers):
                capture.rows(index, work.new)

    seconds = runner.writing_seconds(work.answers, work.prompt, work.new, work.answers)
    return once, seconds, runner.running_memory(work.answers, work.prompt, work.new)


def examined(part: str, given: argparse.Namespace, work: Work, runner: Any) -> Row:
    """An analysis of patterns, in float32."""
    sizes = {"students": ADAPTERS, "problems": work.problems, "tokens": work.probed, **shape_of(given)}
    with tempfile.TemporaryDirectory() as folder:
        students = probing.written(Path(folder), sizes, shape=SHAPES[given.shape])
        problems = probing.problems_of(sizes)
        forget_peak(given)
        started = time.perf_counter()
        probing.run(part, students, problems)
        taken = time.perf_counter() - started
    texts = work.problems * (1 + ADAPTERS)
    seconds = runner.load_seconds + runner.reading_seconds(texts * work.probed, work.probed, 0, texts / probing.BATCH)
    patterns = 3 * probing.BATCH * runner.sizes.heads * work.probed**2 * 4
    memory = runner.running_memory(probing.BATCH, work.probed, 0) + patterns
    return Row(taken, peak_gib(given), seconds, memory / 2**30)


def planned_runner(given: argparse.Namespace, dtype: str) -> Any:
    """What plans predict with: the shape on this device."""
    from transformers import LlamaConfig

    from kdprobe.experiment.costs.devices import Devices, core, installed
    from kdprobe.experiment.costs.runner import Runner
    from kdprobe.models.outline.memory import Memory
    from kdprobe.models.outline.sizes import sizes
    from kdprobe.models.reference import ModelRecord

    device = core() if given.device == "cpu" else installed()
    if device is None:
        raise SystemExit("This GPU is not in kdprobe's table of devices, so plans predict nothing for it.")
    with tempfile.TemporaryDirectory() as folder:
        LlamaConfig(**SHAPES[given.shape], architectures=["LlamaForCausalLM"]).save_pretrained(folder)
        record = ModelRecord(name=given.shape, source="folder", path=Path(folder), digest=given.shape)
        return Runner(sizes(record, Memory()), dtype, Devices(device))


def probing_model(given: argparse.Namespace) -> Any:
    """A Llama of the shape with random weights."""
    from kdprobe.testing.models import random_llama

    return random_llama(dtype=given.dtype, **SHAPES[given.shape])


def shape_of(given: argparse.Namespace) -> dict[str, int]:
    """Layers and heads as `probing.py` calls them."""
    shape = SHAPES[given.shape]
    return {"layers": shape["num_hidden_layers"], "heads": shape["num_attention_heads"]}


def timed(once: Callable[[], Any], given: argparse.Namespace) -> float:
    """Median seconds; the first time warms up."""
    import torch

    wait = torch.cuda.synchronize if given.device == "cuda" else nullcontext
    once()
    wait()
    gc.collect()
    forget_peak(given)
    taken = []
    for _ in range(given.repeats):
        started = time.perf_counter()
        once()
        wait()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def forget_peak(given: argparse.Namespace) -> None:
    """Peaks count from here."""
    import torch

    if given.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_gib(given: argparse.Namespace) -> float:
    """Since it was last forgotten."""
    import torch

    return float(torch.cuda.max_memory_allocated() / 2**30 if given.device == "cuda" else high_water() / 2**10)


def _installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


if __name__ == "__main__":
    main()
