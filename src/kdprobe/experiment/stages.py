"""The stages of an experiment: what each is keyed by, and how it is made.

A stage's `FORMAT` goes up when the code that makes it changes what it makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdprobe.evaluation.protocol import Protocol
from kdprobe.experiment.analysing import analyse_stage
from kdprobe.experiment.config import Experiment
from kdprobe.experiment.environment import environment
from kdprobe.experiment.evaluating import Records, answers_of, evaluate_stage
from kdprobe.experiment.identities import Identities
from kdprobe.experiment.mistakes import GOLD, OWN
from kdprobe.experiment.selecting import select_stage
from kdprobe.experiment.store import Stage, write_json
from kdprobe.experiment.training import FINE_TUNE, student_of, train_stage
from kdprobe.host.registry import Host
from kdprobe.models.reference import ModelRecord
from kdprobe.problems.draw import Draw
from kdprobe.strategies.prompt_pair import PromptPair, bare

FORMAT = 2
"""Of transfer sets."""


class Maker:
    """Lays out the stages of one experiment."""

    def __init__(self, experiment: Experiment, host: Host, student: ModelRecord, drawn: Draw) -> None:
        self.experiment, self.host = experiment, host
        self.of = Identities(experiment, host, student, drawn)

    def transfer(
        self,
        arm: str,
        conversations: Mapping[str, PromptPair],
        written: Stage | None = None,
        temperatures: tuple[float, ...] = (),
    ) -> Stage:
        """The teacher answers the transfer problems under one strategy, or scores the texts of `transfer.texts`.

        Args:
            arm: The strategy as this run calls it.
            conversations: Problem id to what it made of the problem.
            written: The transfer set whose answers are scored, where `transfer.texts` names another strategy.
            temperatures: At which the tail is kept besides those that the distiller plans.
        """
        config = self.experiment.transfer
        teacher = self._build("teachers", self.experiment.teacher.name, self.experiment.teacher.options)
        sampling = self._sampling(temperatures)
        problems = self.of.drawn.transfer
        settings = {
            "format": FORMAT,
            **self.of.teacher(teacher, conversations),
            "strategy": self.of.strategy(arm),
            # Their gold values judge the answers, though the teacher never sees them.
            "problems": self.of.problems(problems),
            "sampling": asdict(sampling),
            "samples": config.samples,
            "texts": self.of.texts(),
            "environment": environment("torch", "transformers", "peft"),
        }

        def work(folder: Path, inputs: list[Path], scratch: Path) -> None:
            from kdprobe.models.conversation import prompt_ids, template_digest, tokenizer_digest
            from kdprobe.models.load import load_tokenizer
            from kdprobe.transfer.capture import Setting, capture, score
            from kdprobe.transfer.fidelity import fidelity
            from kdprobe.transfer.texts import file_texts, gold_texts
            from kdprobe.transfer.transfer_set import read, write

            # A teacher of another family brings its own tokenizer; the record of which one decides what it fits.
            record = getattr(teacher, "record", self.of.student)
            tokenizer = load_tokenizer(record)
            manifest = {
                "strategy": arm,
                "tokenizer": tokenizer_digest(tokenizer),
                "vocabulary": len(tokenizer),
                "chat_template": template_digest(tokenizer),
            }
            if config.texts == OWN or (config.texts == arm and not inputs):
                setting = Setting(sampling, manifest, f"Teacher answers: {arm}", scratch)
                made = capture(teacher, problems, conversations, setting, config.samples)
            else:
                if inputs:
                    texts = list(read(inputs[0]).responses)
                elif config.texts == GOLD:
                    texts = gold_texts(problems, tokenizer)
                else:
                    texts = file_texts(Path(config.texts), problems, tokenizer)
                prompts = {id_: prompt_ids(tokenizer, pair.teacher) for id_, pair in conversations.items()}
                made = score(teacher, texts, prompts, Setting(sampling, manifest, f"Teacher reads: {arm}", scratch))
            write(made, folder)
            write_json(folder / "fidelity.json", asdict(fidelity(read(folder), problems)))

        return Stage("transfer", arm, settings, (written,) if written else (), work)

    def select(self, transfers: Mapping[str, Stage]) -> Stage:
        """Leaves of these strategies' answers those that give the gold value; of several strategies, matched ones."""
        return select_stage(self.of, transfers)

    def distill(  # noqa: PLR0917
        self,
        arm: str,
        strategy: str,
        seed: int,
        taught: Stage | None,
        selected: Stage | None,
        conversations: Mapping[str, PromptPair],
    ) -> Stage:
        """A student learns, from what a teacher left behind where its distiller needs that."""
        config = self.experiment.distill
        return train_stage(
            self.of,
            arm,
            seed,
            distiller=(config.name, config.options),
            transfer=taught,
            selected=selected,
            conversations=conversations,
            strategy=self.of.strategy(strategy),
        )

    def fine_tune(self, arm: str, seed: int, selected: Stage | None) -> Stage:
        """The control learns from the gold solutions; under a matched selection, of the problems that are in it."""
        return train_stage(
            self.of,
            arm,
            seed,
            distiller=(FINE_TUNE, self.experiment.controls.fine_tune_options),
            transfer=None,
            selected=selected,
            conversations={problem.id: PromptPair(bare(problem), bare(problem)) for problem in self.of.drawn.transfer},
            strategy=None,
        )

    def evaluate(self, arm: str, distill: Stage | None) -> Stage:
        """lm-eval examines a student."""
        config = self.experiment.evaluation
        dtype = self.experiment.student.dtype
        protocol = Protocol(**config.model_dump(), dtype=dtype)

        def answer(inputs: list[Path], scratch: Path, label: str) -> Records:
            student = nullcontext(student_of(self.of, arm, inputs).load(dtype=dtype))
            return answers_of(student, self.of.drawn.test, protocol, scratch, label=label)

        return evaluate_stage(
            arm,
            self.of.drawn.test,
            protocol,
            identity={"student": self.of.student.as_provenance(), "source": self.of.source()},
            answer=answer,
            inputs=(distill,) if distill else (),
        )

    def analyse(self, name: str, options: dict[str, Any], arms: Sequence[tuple[str, Stage | None, Stage]]) -> Stage:
        """An analysis looks at all students; arguments as those of `analyse_stage`."""
        return analyse_stage(self.of, name, options, arms)

    @property
    def needs_responses(self) -> bool:
        """Whether the distiller learns from a transfer set."""
        config = self.experiment.distill
        return "responses" in self._build("distillers", config.name, config.options).needs

    def _sampling(self, more: tuple[float, ...] = ()) -> Any:
        from kdprobe.teachers.teacher import Sampling

        config = self.experiment.distill
        distiller = self._build("distillers", config.name, config.options)
        temperatures = tuple(sorted({1.0, *distiller.temperatures(), *more}))
        return Sampling(**self.experiment.transfer.sampling, temperatures=temperatures)

    def _build(self, kind: str, name: str, options: dict[str, Any]) -> Any:
        return self.host.make(kind, name, options)
