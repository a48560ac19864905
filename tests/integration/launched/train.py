"""Trains as described by a test's settings, in as many processes as were launched: `train.py SETTINGS.json`."""

import json
import sys
from pathlib import Path


def main():
    from kdprobe.distill.distiller import TrainContext
    from kdprobe.host.registry import Host
    from kdprobe.models.processes import rank
    from kdprobe.models.reference import resolve
    from kdprobe.problems.problem import Problem
    from kdprobe.transfer.transfer_set import read

    given = json.loads(Path(sys.argv[1]).read_text())
    problems = [Problem(**row) for row in given["problems"]]
    host = Host()
    render = host.build("strategies", "teacher", None)
    for number, training in enumerate(given["trainings"]):
        distiller = host.build(
            "distillers", training["name"], host.options("distillers", training["name"], training["options"])
        )
        scratch = Path(training["scratch"]) if training.get("scratch") else None
        trained = distiller.train(
            TrainContext(
                student=resolve(given["model"]),
                dtype="float32",
                problems=problems,
                conversations={problem.id: render(problem) for problem in problems},
                transfer=read(Path(given["transfer"])) if training["name"] != "fine-tune" else None,
                seed=0,
                folder=Path(given["out"]) / f"{number}" / "adapter",
                scratch=scratch,
            )
        )
        books = {"history": trained.history, "adapter_norm": trained.adapter_norm, "best_step": trained.best_step}
        (Path(given["out"]) / f"{number}-rank{rank()}.json").write_text(json.dumps(books))


main()
