"""An optimiser step of kdprobe on a stored transfer set, against TRL's KD with the teacher in the loop.

    pip install 'trl>=1.16,<2'        # next to kdprobe; changes no other package
    python benchmarks/against_trl.py [--steps 4] [--rounds 3] [--json FILE]

Both train the same LoRA adapter on the same model in SmolLM2-135M's shape, with the same data, AdamW and precision
(float32).

    kdprobe   `kdprobe.distill.training.trainer.train`: forward KL to the stored top k, through the sparse head
    TRL       `trl.experimental.gkd.GKDTrainer` with lmbda = 0 (given responses) and beta = 0 (forward KL): the teacher,
              another model of that size, runs in every step, and both compute logits at every position. TRL turns
              gradient checkpointing and bf16 on by default; both are off here.

First, the script checks that both minimise the same loss: with k = V, kdprobe's loss at the first step equals TRL's,
which is also a mean over the step's response tokens. Then each trains in separate processes, in turn. A step lasts from
the end of one to the end of the next, as seen by the same callback in both, so it includes collating; the first step of
each process is left out. CPU seconds are reported too: with OMP_NUM_THREADS=1, they are the most reliable measure on a
busy machine. Memory is a process's peak during training above what it held before it loaded a model (Linux).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from peak_memory import peak_of
from result_file import write_result
from shapes import SHAPES

K, LEARNING_RATE = 64, 2e-4
VOCABULARY = SHAPES["smollm2-135m"]["vocab_size"]
WAYS = ("kdprobe", "TRL")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4, help="timed optimiser steps per process")
    parser.add_argument("--rounds", type=int, default=3, help="processes per variant")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=110, help="tokens")
    parser.add_argument("--response", type=int, default=110, help="tokens")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if importlib.util.find_spec("trl") is None:
        raise SystemExit("This benchmark needs TRL: pip install 'trl>=1.16,<2'.")
    if given.child:
        print(json.dumps(measure(given.child, given)))
        return
    check()
    with TemporaryDirectory() as folder:
        given.rows = Path(folder) / "rows.npz"
        store(given)
        rounds = [{way: child(way, given) for way in WAYS} for _ in range(given.rounds)]
    seconds, cpu = (
        {way: statistics.median(s for one in rounds for s in one[way][name]) for way in WAYS}
        for name in ("seconds", "cpu_seconds")
    )
    memory = {way: max(one[way]["mebibytes"] for one in rounds) for way in WAYS}
    print(f"{'way':<10}{'s/step':>8}{'ratio':>8}{'CPU s':>8}{'ratio':>8}{'MiB':>8}{'ratio':>8}")
    for way in WAYS:
        print(
            f"{way:<10}{seconds[way]:>8.2f}{seconds[way] / seconds['kdprobe']:>8.2f}"
            f"{cpu[way]:>8.2f}{cpu[way] / cpu['kdprobe']:>8.2f}"
            f"{memory[way]:>8.0f}{memory[way] / memory['kdprobe']:>8.2f}"
        )
    if given.json:
        asked = {name: getattr(given, name) for name in ("steps", "rounds", "batch", "prompt", "response")}
        result = {**asked, "seconds": seconds, "cpu_seconds": cpu, "mebibytes": memory, "rounds": rounds}
        write_result(given.json, result)


def model_of(seed: int) -> Any:
    """Random weights of SmolLM2-135M's shape; the student is number 0, its teacher number 1."""
    from kdprobe.testing.models import random_llama

    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return random_llama(seed=seed, **SHAPES["smollm2-135m"], **special).eval()


def tokenizer() -> Any:
    """One word per id: both trainers require a tokenizer, but use only its padding id and its size."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({f"w{id_}": id_ for id_ in range(VOCABULARY)}, unk_token="w3"))  # noqa: S106
    special = {"pad_token": "w0", "bos_token": "w1", "eos_token": "w2"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


def token_ids(examples: int, length: int) -> Any:
    """The data: random ids `[examples, length]`."""
    import torch

    return torch.randint(3, VOCABULARY, (examples, length), generator=torch.Generator().manual_seed(2))


def teacher_rows(ids: Any, prompt: int, k: int) -> list[Any]:
    """The distributions that a teacher produced beforehand for every example, as `SparseRows`."""
    import torch

    from kdprobe.teachers.teacher import SparseRows
    from kdprobe.teachers.top_k_capture import top_k

    teacher, rows = model_of(1), []
    with torch.inference_mode():
        for one in ids:
            positions = torch.arange(prompt - 1, len(one) - 1)
            logits = teacher(one[None], logits_to_keep=positions, use_cache=False).logits[0]
            cut = top_k(logits, k, (1.0,))
            written = logits.gather(1, one[prompt:, None])[:, 0] - cut.normaliser
            rows.append(SparseRows(cut.ids.numpy(), cut.logprobs.numpy(), {1.0: cut.tails[0].numpy()}, written.numpy()))
    return rows


def store(given: argparse.Namespace) -> None:
    """Writes the teacher's rows as in a transfer set, with log-probabilities in fp16."""
    import numpy as np

    ids = token_ids(given.batch * (given.steps + 1), given.prompt + given.response)
    rows = teacher_rows(ids, given.prompt, K)
    np.savez(
        given.rows,
        ids=np.stack([row.ids for row in rows]),
        logprobs=np.stack([row.logprobs for row in rows]).astype(np.float16),
        tails=np.stack([row.tail_logmass[1.0] for row in rows]),
        written=np.stack([row.token_logprobs for row in rows]),
    )


def stored(file: Path) -> list[Any]:
    """Reads what `store` wrote."""
    import numpy as np

    from kdprobe.teachers.teacher import SparseRows

    with np.load(file) as held:
        columns = [held[name] for name in ("ids", "logprobs", "tails", "written")]
    return [
        SparseRows(ids, logprobs, {1.0: tail}, written) for ids, logprobs, tail, written in zip(*columns, strict=True)
    ]


def train_kdprobe(ids: Any, rows: list[Any], prompt: int, batch: int, folder: Path) -> list[float]:
    """Trains for one epoch; returns the loss at every step."""
    from kdprobe.distill.distiller import TrainContext
    from kdprobe.distill.examples import Example
    from kdprobe.distill.objectives import Objective
    from kdprobe.distill.options import TrainingOptions
    from kdprobe.distill.training.trainer import train
    from kdprobe.models.load import LoadedModel
    from kdprobe.models.reference import ModelRecord

    record = ModelRecord(name="random", source="folder", path=folder, digest="")
    examples = [
        Example.of_response(str(place), one[:prompt].tolist(), one[prompt:].tolist(), lambda row=row: row)
        for place, (one, row) in enumerate(zip(ids, rows, strict=True))
    ]
    trained = train(
        LoadedModel(model_of(0), tokenizer(), record, "float32"),
        examples,
        Objective(alpha=0.0),
        TrainingOptions(epochs=1, batch_size=batch, learning_rate=LEARNING_RATE, checkpoint_steps=10_000),
        TrainContext(
            student=record, dtype="float32", problems=[], conversations={}, transfer=None, seed=0, folder=folder
        ),
    )
    return [row["loss"] for row in trained.history]


def train_trl(ids: Any, prompt: int, batch: int, folder: Path) -> list[float]:
    """Trains for one epoch; returns the loss at every step."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    from kdprobe.distill.options import LoraOptions, TrainingOptions

    lora, options = LoraOptions(), TrainingOptions()
    mask = [0] * prompt + [1] * (ids.shape[1] - prompt)
    trainer = GKDTrainer(
        model=model_of(0),
        teacher_model=model_of(1),
        args=GKDConfig(
            output_dir=str(folder),
            lmbda=0.0,
            beta=0.0,
            temperature=1.0,
            max_length=ids.shape[1],
            num_train_epochs=1,
            per_device_train_batch_size=batch,
            learning_rate=LEARNING_RATE,
            weight_decay=options.weight_decay,
            max_grad_norm=options.max_grad_norm,
            optim="adamw_torch",
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            seed=0,
            save_strategy="no",
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(
            # The prompt's text is required, but not used if there are ids.
            [{"prompt": "", "input_ids": one.tolist(), "completion_mask": mask} for one in ids]
        ),
        processing_class=tokenizer(),
        peft_config=LoraConfig(
            r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.target_modules, task_type="CAUSAL_LM"
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def check() -> None:
    """Checks that both minimise the same loss: one step on little data, with k = V.

    Raises:
        SystemExit: They do not.
    """
    prompt, response, batch = 12, 6, 2
    ids = token_ids(batch, prompt + response)
    with TemporaryDirectory() as folder:
        ours = train_kdprobe(ids, teacher_rows(ids, prompt, VOCABULARY), prompt, batch, Path(folder) / "kdprobe")
        theirs = train_trl(ids, prompt, batch, Path(folder) / "trl")
    if len(ours) != len(theirs) or abs(ours[0] - theirs[0]) > 1e-3 * theirs[0]:
        raise SystemExit(f"kdprobe's loss is {ours}, TRL's {theirs}: they do not minimise the same loss.")
    print(f"same loss at the first step, k = V: kdprobe {ours[0]:.6f}, TRL {theirs[0]:.6f} nats per token")


def child(way: str, given: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a separate process."""
    sizes = [f"--{name}={getattr(given, name)}" for name in ("steps", "batch", "prompt", "response", "rows")]
    command = [sys.executable, __file__, *sizes, "--child", way]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    measured: dict[str, Any] = json.loads(lines[-1])
    return measured


def measure(way: str, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds and CPU seconds of every step except the first, and the peak in MiB."""
    from transformers import TrainerCallback, trainer

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Records when a step ends."""

        ends: list[tuple[float, float]]

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.ends = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append((time.perf_counter(), time.process_time()))

    clock = Clock()
    # Every Trainer gets these, no matter what creates it.
    trainer.DEFAULT_CALLBACKS.append(clock)
    # Both, so that both start from the same size.
    for module in ("kdprobe.distill.training.trainer", "trl.experimental.gkd"):
        importlib.import_module(module)
    ids = token_ids(given.batch * (given.steps + 1), given.prompt + given.response)
    rows = stored(given.rows) if way == "kdprobe" else []
    with TemporaryDirectory() as name:
        folder = Path(name)
        if way == "kdprobe":
            peak = peak_of(lambda: train_kdprobe(ids, rows, given.prompt, given.batch, folder))
        else:
            peak = peak_of(lambda: train_trl(ids, given.prompt, given.batch, folder))
    wall, cpu = ([after - end for end, after in itertools.pairwise(column)] for column in zip(*clock.ends, strict=True))
    return {"seconds": wall, "cpu_seconds": cpu, "mebibytes": peak}


if __name__ == "__main__":
    main()
