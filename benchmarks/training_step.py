"""One training step in several variants: what the sparse KD head costs and saves.

    python benchmarks/training_step.py [--dtype float32] [--repeats 7] [--json FILE]
    python benchmarks/training_step.py --device cuda --shape llama-3.1-8b --dtype bfloat16

All variants train the same LoRA adapter on the same random batch: forward, backward, AdamW. Weights are random, by
default in SmolLM2-135M's shape.

    ordinary            peft's model with its own loss, as in a plain fine-tuning script: logits at every position
    dense CE            cross-entropy on response rows only, from the logits of these rows
    dense KD            sparse forward KL from the logits of response rows
    head CE, head KD    the same two through kdprobe's head, without logits
    teacher in the loop  dense forward KL, with the teacher's forward pass in every step
    floor               the model, and the two products with the output matrix that no head can do without, in chunks

The variants alternate within one process, so that other load on the machine affects all of them; ratios are of medians.
Memory is the peak of a separate process above what it held before the step (Linux); on a GPU, that of the allocator.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peak_memory import peak_in_child, peak_of
from result_file import write_result
from shapes import SHAPES

BATCH, LENGTH, RESPONSE, K = 8, 220, 110, 64
WAYS = ("ordinary", "dense CE", "dense KD", "head CE", "head KD", "teacher in the loop", "floor")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--shape", default="smollm2-135m", choices=SHAPES)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", choices=[*WAYS, "head part dense", "head part sparse"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        print(peak(given.memory_of, given))
        return
    seconds = times(given)
    memory = {way: child(way, given) for way in WAYS}
    parts = {way: child(way, given) for way in ("head part dense", "head part sparse")}
    base = seconds["ordinary"]
    print(f"{'way':<22}{'s/step':>8}{'ratio':>8}{'MiB':>8}{'ratio':>8}")
    for way in WAYS:
        print(
            f"{way:<22}{seconds[way]:>8.3f}{seconds[way] / base:>8.2f}"
            f"{memory[way]:>8.0f}{memory[way] / memory['ordinary']:>8.2f}"
        )
    print(f"head KD / head CE: {seconds['head KD'] / seconds['head CE']:.2f} of the time")
    print(f"teacher in the loop / head KD: {seconds['teacher in the loop'] / seconds['head KD']:.2f} of the time")
    print(
        f"the head's own part: {parts['head part sparse']:.0f} MiB, dense {parts['head part dense']:.0f} MiB, "
        f"ratio {parts['head part sparse'] / parts['head part dense']:.2f}"
    )
    if given.json:
        asked = {name: getattr(given, name) for name in ("dtype", "device", "shape", "repeats")}
        if given.device == "cuda":
            import torch

            asked["gpu"] = torch.cuda.get_device_name()
        write_result(given.json, {**asked, "seconds": seconds, "mebibytes": memory, "head": parts})


def prepare(given: argparse.Namespace) -> tuple[Any, dict[str, Any], Any]:
    """A model with an adapter, a batch with a teacher's rows, and the output matrix."""
    import torch
    from peft import LoraConfig, get_peft_model

    from kdprobe.distill.objectives import SparseLogprobs
    from kdprobe.testing.models import random_llama

    # The weights, the batch and everything that the steps allocate.
    torch.set_default_device(given.device)
    base = random_llama(dtype=given.dtype, **SHAPES[given.shape])
    model = get_peft_model(base, LoraConfig(r=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]))
    ids = torch.randint(base.config.vocab_size, (BATCH, LENGTH))
    labels = ids.clone()
    labels[:, : LENGTH - RESPONSE] = -100
    teacher = SparseLogprobs.from_logits(torch.randn(BATCH * RESPONSE, base.config.vocab_size), K)
    return model, {"input_ids": ids, "labels": labels, "teacher": teacher}, base.lm_head.weight


def loss_of(way: str, model: Any, batch: dict[str, Any], matrix: Any) -> Any:
    """The loss of a step, one of `WAYS`."""
    import torch

    from kdprobe.distill.objectives import Objective
    from kdprobe.distill.sparse_kd import sparse_kd_loss
    from kdprobe.models.lm_head import CHUNK_BYTES, lm_head_replaced

    ids, labels, teacher = batch["input_ids"], batch["labels"], batch["teacher"]
    if way == "ordinary":
        return model(input_ids=ids, labels=labels, use_cache=False).loss
    keep = torch.arange(LENGTH - RESPONSE - 1, LENGTH - 1)
    targets = ids[:, -RESPONSE:].reshape(-1)
    objective = Objective(1.0 if way.endswith("CE") else 0.0)
    theirs = None if way.endswith("CE") else teacher
    if way.startswith(("head", "floor")):
        with lm_head_replaced(model):
            hidden = model(input_ids=ids, logits_to_keep=keep, use_cache=False).logits.flatten(0, 1)
        if way == "floor":
            with torch.no_grad():
                matrix = matrix.to(hidden.dtype)
                chunks = hidden.split(max(1, CHUNK_BYTES // (4 * len(matrix))))
                slope = torch.cat([(chunk @ matrix.T) @ matrix for chunk in chunks])
            return (hidden * slope).mean()
        return sparse_kd_loss(hidden, matrix, targets, theirs, objective)["loss"].mean()
    if way == "teacher in the loop":
        with torch.no_grad(), model.disable_adapter():
            p = model(input_ids=ids, logits_to_keep=keep, use_cache=False).logits.flatten(0, 1).float().log_softmax(-1)
        q = model(input_ids=ids, logits_to_keep=keep, use_cache=False).logits.flatten(0, 1).float().log_softmax(-1)
        return torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1).mean()
    logits = model(input_ids=ids, logits_to_keep=keep, use_cache=False).logits.flatten(0, 1)
    return objective.dense(logits, targets, theirs)["loss"].mean()


def times(given: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a step."""
    import torch

    model, batch, matrix = prepare(given)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for repeat in range(given.repeats + 1):
        for way in WAYS:
            started = time.perf_counter()
            loss_of(way, model, batch, matrix).backward()
            optimiser.step()
            optimiser.zero_grad()
            if given.device == "cuda":
                torch.cuda.synchronize()
            if repeat > 0:
                taken[way].append(time.perf_counter() - started)
    return {way: statistics.median(values) for way, values in taken.items()}


def child(way: str, given: argparse.Namespace) -> float:
    """Peak memory of a step in a separate process, in MiB."""
    asked = [f"--{name}={getattr(given, name)}" for name in ("dtype", "device", "shape")]
    return peak_in_child(__file__, *asked, "--memory-of", way)


def peak(way: str, given: argparse.Namespace) -> float:
    """Peak of this process above what it held before, in MiB."""
    import torch

    from kdprobe.distill.objectives import Objective
    from kdprobe.distill.sparse_kd import sparse_kd_loss

    model, batch, matrix = prepare(given)
    work: Callable[[], Any]
    if way.startswith("head part"):
        hidden = torch.randn(BATCH * RESPONSE, matrix.shape[1], dtype=matrix.dtype, requires_grad=True)
        targets, objective = batch["input_ids"][:, -RESPONSE:].reshape(-1), Objective(0.5)
        if way.endswith("sparse"):
            work = lambda: sparse_kd_loss(hidden, matrix.detach(), targets, batch["teacher"], objective)["loss"]  # noqa: E731
        else:
            work = lambda: objective.dense(hidden @ matrix.detach().T, targets, batch["teacher"])["loss"]  # noqa: E731
    else:
        work = lambda: loss_of(way, model, batch, matrix)  # noqa: E731
    warm = torch.randn(64, 64, requires_grad=True)
    (warm @ warm).sum().backward()
    if given.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work().mean().backward()
        return float(torch.cuda.max_memory_allocated() - before) / 2**20
    return peak_of(lambda: work().mean().backward())


if __name__ == "__main__":
    main()
