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
    weights = spy_on_weights()
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
        books |= {"relative_change": trained.relative_change, **weights}
        (Path(given["out"]) / f"{number}-rank{rank()}.json").write_text(json.dumps(books))


def spy_on_weights():
    """Returns a dictionary about the model trained last: the names of the weights that were not divided among processes
    (`undivided`), and the bytes that this process keeps of those that it does not train (`kept`)."""
    from torch.distributed.tensor import DTensor

    from kdprobe.distill.training import trainer

    measure, found = trainer.adapter_norm, {}

    def measured(model):
        weights = dict(model.named_parameters())
        found["undivided"] = [name for name, weight in weights.items() if not isinstance(weight, DTensor)]
        frozen = (weight for weight in weights.values() if not weight.requires_grad)
        found["kept"] = sum((each.to_local() if isinstance(each, DTensor) else each).nbytes for each in frozen)
        return measure(model)

    trainer.adapter_norm = measured
    return found


main()
