"""The stages of an experiment: what each is keyed by, and how it is made.

A stage's `FORMAT` goes up when the code that makes it changes what it makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdprobe.experiment.config import Experiment
from kdprobe.experiment.environment import environment
from kdprobe.experiment.store import Stage, digest, write_json
from kdprobe.host.registry import Host
from kdprobe.models import processes
from kdprobe.models.reference import ModelRecord
from kdprobe.problems.draw import Draw
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, bare

FORMAT = {"transfer": 1, "distill": 3, "evaluate": 2, "analyse": 1}
ADAPTER = "adapter"
TRAINING = "training.json"
RECORDS = "records.parquet"
FIGURES = "figures.json"
FINDINGS = "findings.json"


class Maker:
    """Lays out the stages of one experiment."""

    def __init__(self, experiment: Experiment, host: Host, student: ModelRecord, drawn: Draw) -> None:
        self.experiment, self.host, self.student, self.drawn = experiment, host, student, drawn

    def transfer(self, arm: str, conversations: Mapping[str, PromptPair]) -> Stage:
        """The teacher answers the transfer problems under one strategy."""
        config = self.experiment.teacher
        teacher = self._build("teachers", config.name, config.options)
        sampling = self._sampling()
        settings = {
            "format": FORMAT["transfer"],
            "teacher": teacher.provenance,
            "plugin": plugin_identity(self.host, "teachers", config.name),
            "conversations": digest({id_: pair.teacher for id_, pair in conversations.items()}),
            "sampling": asdict(sampling),
            "environment": environment("torch", "transformers", "peft"),
        }

        def work(folder: Path, _inputs: list[Path], _scratch: Path) -> None:
            from kdprobe.models.conversation import template_digest, tokenizer_digest
            from kdprobe.models.load import load_tokenizer
            from kdprobe.transfer.capture import capture
            from kdprobe.transfer.fidelity import fidelity
            from kdprobe.transfer.transfer_set import read, write

            # A teacher of another family brings its own tokenizer; the record of which one decides what it fits.
            record = getattr(teacher, "record", self.student)
            tokenizer = load_tokenizer(record)
            manifest = {
                "strategy": arm,
                "tokenizer": tokenizer_digest(tokenizer),
                "vocabulary": len(tokenizer),
                "chat_template": template_digest(tokenizer),
            }
            write(capture(teacher, self.drawn.transfer, conversations, sampling, manifest), folder)
            write_json(folder / "fidelity.json", asdict(fidelity(read(folder), self.drawn.transfer)))

        return Stage("transfer", arm, settings, (), work)

    def distill(self, arm: str, seed: int, transfer: Stage, conversations: Mapping[str, PromptPair]) -> Stage:
        """A student learns from a transfer set."""
        config = self.experiment.distill
        return self._train(arm, seed, config.name, config.options, transfer, conversations)

    def fine_tune(self, arm: str, seed: int) -> Stage:
        """The control learns from the gold solutions."""
        pairs = {problem.id: PromptPair(bare(problem), bare(problem)) for problem in self.drawn.transfer}
        return self._train(arm, seed, "fine-tune", self.experiment.controls.fine_tune_options, None, pairs)

    def evaluate(self, arm: str, distill: Stage | None) -> Stage:
        """lm-eval examines a student."""
        from kdprobe.evaluation.protocol import Protocol, task_digest

        config = self.experiment.evaluation
        protocol = Protocol(**config.model_dump(), dtype=self.experiment.student.dtype)
        settings = {
            "format": FORMAT["evaluate"],
            "student": self.student.as_provenance(),
            "problems": self._problems(self.drawn.test),
            "protocol": protocol.as_row(),
            "task": task_digest(),
            "environment": environment("torch", "transformers", "peft", "lm-eval"),
        }

        def work(folder: Path, inputs: list[Path], _scratch: Path) -> None:
            import pandas as pd

            from kdprobe.evaluation.harness import evaluate
            from kdprobe.evaluation.likelihood import log_p_gold_value

            student = self._student(arm, inputs).load(dtype=self.experiment.student.dtype)
            records = evaluate(student, self.drawn.test, protocol, label=f"lm-eval: {arm}")
            endpoint = log_p_gold_value(
                student,
                self.drawn.test,
                batch_size=config.batch_size,
                label=f"log p(gold value): {arm}",
            )
            rows = [{**record, "log_p_gold_value": value} for record, value in zip(records, endpoint, strict=True)]
            pd.DataFrame(rows).to_parquet(folder / RECORDS)

        return Stage("evaluate", arm, settings, (distill,) if distill else (), work)

    def analyse(self, name: str, options: dict[str, Any], arms: list[tuple[str, Stage | None]]) -> Stage:
        """An analysis looks at all students."""
        config = self.experiment.probe
        validated = self.host.options("analyses", name, options)
        problems = self.drawn.test[: config.problems]
        settings = {
            "format": FORMAT["analyse"],
            "analysis": name,
            "plugin": plugin_identity(self.host, "analyses", name),
            "options": validated.model_dump(mode="json") if validated else {},
            "student": self.student.as_provenance(),
            "arms": [arm for arm, _ in arms],
            "problems": self._problems(problems),
            "batch_size": config.batch_size,
            "environment": environment("torch", "transformers", "peft", "transformer-lens"),
        }
        trained = [(arm, stage) for arm, stage in arms if stage is not None]

        def work(folder: Path, inputs: list[Path], _scratch: Path) -> None:
            from kdprobe.probing.analysis import AnalysisContext

            adapters = {arm: [path] for (arm, _), path in zip(trained, inputs, strict=True)}
            students = [self._student(arm, adapters.get(arm, [])) for arm, _ in arms]
            analysis = self._build("analyses", name, options)
            result = analysis.run(AnalysisContext(students, problems, config.batch_size))
            for table, frame in result.tables.items():
                frame.to_parquet(folder / f"{table}.parquet")
                frame.to_csv(folder / f"{table}.csv", index=False)
            write_json(folder / FIGURES, [asdict(figure) for figure in result.figures])
            write_json(folder / FINDINGS, list(result.findings))

        return Stage("analyse", name, settings, tuple(stage for _, stage in trained), work)

    def _train(  # noqa: PLR0917
        self,
        arm: str,
        seed: int,
        name: str,
        options: dict[str, Any],
        transfer: Stage | None,
        conversations: Mapping[str, PromptPair],
    ) -> Stage:
        validated = self.host.options("distillers", name, options)
        settings = {
            "format": FORMAT["distill"],
            "distiller": name,
            "plugin": plugin_identity(self.host, "distillers", name),
            "options": validated.model_dump(mode="json") if validated else {},
            "student": self.student.as_provenance(),
            "dtype": self.experiment.distill.dtype,
            "seed": seed,
            # The batch size is per process.
            "processes": processes.count(),
            "problems": self._problems(self.drawn.transfer),
            "conversations": digest({id_: pair.student for id_, pair in conversations.items()}),
            "environment": environment("torch", "transformers", "peft"),
        }

        def work(folder: Path, inputs: list[Path], scratch: Path) -> None:
            from kdprobe.distill.distiller import TrainContext
            from kdprobe.transfer.transfer_set import read

            distiller = self.host.build("distillers", name, validated)
            trained = distiller.train(
                TrainContext(
                    student=self.student,
                    dtype=self.experiment.distill.dtype,
                    problems=self.drawn.transfer,
                    conversations=conversations,
                    transfer=read(inputs[0]) if inputs else None,
                    seed=seed,
                    folder=folder / ADAPTER,
                    label=f"Distilling {arm}" if inputs else f"Training {arm}",
                    scratch=scratch,
                )
            )
            books = ("adapter_norm", "stopped_early", "best_step", "history")
            write_json(folder / TRAINING, {name: getattr(trained, name) for name in books})

        return Stage("distill", arm, settings, (transfer,) if transfer else (), work)

    def _student(self, arm: str, inputs: list[Path]) -> Any:
        from kdprobe.students.student import Student

        return Student(arm, self.student, inputs[0] / ADAPTER if inputs else None)

    def _sampling(self) -> Any:
        from kdprobe.teachers.teacher import Sampling

        config = self.experiment.distill
        distiller = self._build("distillers", config.name, config.options)
        temperatures = tuple(sorted({1.0, *distiller.temperatures()}))
        return Sampling(**self.experiment.transfer.model_dump(), temperatures=temperatures)

    def _problems(self, problems: tuple[Problem, ...]) -> str:
        return digest([problem.as_row() for problem in problems])

    def _build(self, kind: str, name: str, options: dict[str, Any]) -> Any:
        return self.host.build(kind, name, self.host.options(kind, name, options))


def plugin_identity(host: Host, kind: str, name: str) -> dict[str, str]:
    """Name, version and source hash of the plugin behind a spec."""
    provider = host.get(kind, name).provider
    return {"plugin": provider.name, "version": provider.version, "source": provider.source_hash}
