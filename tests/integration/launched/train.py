"""Trains as described by a test's settings, in as many processes as were launched: `train.py SETTINGS.json`."""

import json
import sys
from pathlib import Path

from sharding_on_cpu import shard_on_cpu


def main():
    from kdprobe.distill.distiller import TrainContext
    from kdprobe.distill.training.launch import is_sharded
    from kdprobe.host.registry import Host
    from kdprobe.models.processes import rank
    from kdprobe.models.reference import resolve
    from kdprobe.problems.problem import Problem
    from kdprobe.transfer.transfer_set import read

    if is_sharded():
        shard_on_cpu()
    given = json.loads(Path(sys.argv[1]).read_text())
    problems = [Problem(**row) for row in given["problems"]]
    host = Host()
    render = host.build("strategies", "teacher", None)
    undivided = spy_on_weights()
    for number, training in enumerate(given["trainings"]):
        distiller = host.build(
            "distillers", training["name"], host.options("distillers", training["name"], training["options"])
        )
        scratch = Path(training["scratch"]) if training.get("scratch") else None
        trained = distiller.train(
            TrainContext(
                student=resolve(training.get("model", given["model"])),
                dtype=training.get("dtype", "float32"),
                problems=problems,
                conversations={problem.id: render(problem) for problem in problems},
                transfer=read(Path(given["transfer"])) if training["name"] != "fine-tune" else None,
                seed=0,
                folder=Path(given["out"]) / f"{number}" / "adapter",
                scratch=scratch,
            )
        )
        books = {"history": trained.history, "adapter_norm": trained.adapter_norm, "best_step": trained.best_step}
        books |= {"relative_change": trained.relative_change, "undivided": undivided()}
        (Path(given["out"]) / f"{number}-rank{rank()}.json").write_text(json.dumps(books))


def spy_on_weights():
    """Returns a function that names the weights of the model trained last that were not divided among processes."""
    from torch.distributed.tensor import DTensor

    from kdprobe.distill.training import trainer

    measure, names = trainer.adapter_norm, []

    def measured(model):
        names[:] = [name for name, weight in model.named_parameters() if not isinstance(weight, DTensor)]
        return measure(model)

    trainer.adapter_norm = measured
    return lambda: names


main()
