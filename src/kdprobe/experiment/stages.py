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
from kdprobe.experiment.config import Experiment
from kdprobe.experiment.environment import environment
from kdprobe.experiment.evaluating import RECORDS, Records, answers_of, evaluate_stage
from kdprobe.experiment.mistakes import GOLD, OWN, TEXT_FILE
from kdprobe.experiment.store import Stage, digest, read_json, write_json
from kdprobe.host.registry import Host
from kdprobe.host.specs import DistillerSpec
from kdprobe.models import processes
from kdprobe.models.reference import ModelRecord, digest_files
from kdprobe.probing.arms import chosen
from kdprobe.problems.draw import Draw
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, bare

FORMAT = {"transfer": 2, "select": 1, "distill": 3, "analyse": 2}
SELECTION = "selection.json"
ADAPTER = "adapter"
TRAINING = "training.json"
FIGURES = "figures.json"
FINDINGS = "findings.json"


class Maker:
    """Lays out the stages of one experiment."""

    def __init__(self, experiment: Experiment, host: Host, student: ModelRecord, drawn: Draw) -> None:
        self.experiment, self.host, self.student, self.drawn = experiment, host, student, drawn

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
        problems = self.drawn.transfer
        settings = {
            "format": FORMAT["transfer"],
            **self._teacher_identity(teacher, conversations),
            "strategy": self._strategy(arm),
            # Their gold values judge the answers, though the teacher never sees them.
            "problems": self._problems(self.drawn.transfer),
            "sampling": asdict(sampling),
            "samples": config.samples,
            "texts": self._texts(),
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
            record = getattr(teacher, "record", self.student)
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
        settings = {
            "format": FORMAT["select"],
            "problems": self._problems(self.drawn.transfer),
            "environment": environment(),
        }

        def work(folder: Path, inputs: list[Path], _scratch: Path) -> None:
            from kdprobe.transfer.selection import matched, refuse_nothing, right_answers
            from kdprobe.transfer.transfer_set import read

            right = {input_.name: right_answers(read(input_).responses, self.drawn.transfer) for input_ in inputs}
            kept = matched(right)
            refuse_nothing(kept)
            write_json(folder / SELECTION, kept)

        return Stage("select", " and ".join(transfers), settings, tuple(transfers.values()), work)

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
        read = self._strategy(strategy)
        return self._train(arm, seed, config.name, config.options, taught, selected, conversations, read)

    def fine_tune(self, arm: str, seed: int, selected: Stage | None) -> Stage:
        """The control learns from the gold solutions; under a matched selection, of the problems that are in it."""
        pairs = {problem.id: PromptPair(bare(problem), bare(problem)) for problem in self.drawn.transfer}
        options = self.experiment.controls.fine_tune_options
        return self._train(arm, seed, "fine-tune", options, None, selected, pairs, None)

    def evaluate(self, arm: str, distill: Stage | None) -> Stage:
        """lm-eval examines a student."""
        config = self.experiment.evaluation
        dtype = self.experiment.student.dtype
        protocol = Protocol(**config.model_dump(), dtype=dtype)

        def answer(inputs: list[Path], scratch: Path, label: str) -> Records:
            student = nullcontext(self._student(arm, inputs).load(dtype=dtype))
            return answers_of(student, self.drawn.test, protocol, scratch, label=label)

        return evaluate_stage(
            arm,
            self.drawn.test,
            protocol,
            identity={"student": self.student.as_provenance(), "source": self._source()},
            answer=answer,
            inputs=(distill,) if distill else (),
        )

    def analyse(self, name: str, options: dict[str, Any], arms: Sequence[tuple[str, Stage | None, Stage]]) -> Stage:
        """An analysis looks at all students.

        Args:
            name: The analysis.
            options: Its options.
            arms: Name, training (the untouched student has none) and evaluation of every arm.
        """
        config = self.experiment.probe
        validated = self.host.options("analyses", name, options)
        needs = self.host.build("analyses", name, validated).needs
        # Told here, and not after hours of training.
        chosen([arm for arm, _, _ in arms], getattr(validated, "students", ()), name)
        problems = self.drawn.test[: config.problems]
        settings = {
            "format": FORMAT["analyse"],
            "analysis": name,
            "plugin": plugin_identity(self.host, "analyses", name),
            "options": validated.model_dump(mode="json") if validated else {},
            "head_metrics": {
                metric: plugin_identity(self.host, "head-metrics", metric) for metric in self.host.names("head-metrics")
            },
            "student": self.student.as_provenance(),
            "arms": [arm for arm, _, _ in arms],
            "problems": self._problems(problems),
            "batch_size": config.batch_size,
            "environment": environment("torch", "transformers", "peft", "transformer-lens"),
        }
        trained = {arm: stage for arm, stage, _ in arms if stage is not None}
        scored = {arm: stage for arm, _, stage in arms} if "scores" in needs else {}

        def work(folder: Path, inputs: list[Path], _scratch: Path) -> None:
            import pyarrow.parquet as pq

            from kdprobe.probing.analysis import AnalysisContext, run_analysis
            from kdprobe.probing.head_metric import head_metrics_of
            from kdprobe.probing.tables import write_tables

            adapters = dict(zip(trained, inputs, strict=False))
            scores = dict(zip(scored, inputs[len(trained) :], strict=True))
            asked = {problem.id for problem in problems}
            context = AnalysisContext(
                students=[self._student(arm, [adapters[arm]] if arm in adapters else []) for arm, _, _ in arms],
                problems=problems,
                batch_size=config.batch_size,
                records={
                    arm: [row for row in pq.read_table(path / RECORDS).to_pylist() if row["id"] in asked]
                    for arm, path in scores.items()
                },
                head_metrics=head_metrics_of(self.host),
            )
            result = run_analysis(name, self.host.build("analyses", name, validated), context)
            write_tables(result.tables, folder)
            write_json(folder / FIGURES, [asdict(figure) for figure in result.figures])
            write_json(folder / FINDINGS, list(result.findings))

        return Stage("analyse", name, settings, (*trained.values(), *scored.values()), work)

    def _train(  # noqa: PLR0917
        self,
        arm: str,
        seed: int,
        name: str,
        options: dict[str, Any],
        transfer: Stage | None,
        selected: Stage | None,
        conversations: Mapping[str, PromptPair],
        strategy: dict[str, str] | None,
    ) -> Stage:
        validated = self.host.options("distillers", name, options)
        distiller = self.host.build("distillers", name, validated)
        caution = caution_of(self.host, name)
        teacher = None
        if "teacher" in distiller.needs:
            teacher = self._build("teachers", self.experiment.teacher.name, self.experiment.teacher.options)
        settings = {
            "format": FORMAT["distill"],
            "distiller": name,
            "distiller_plugin": plugin_identity(self.host, "distillers", name),
            "options": validated.model_dump(mode="json") if validated else {},
            "student": self.student.as_provenance(),
            "dtype": self.experiment.distill.dtype,
            "seed": seed,
            # The batch size is per process.
            "processes": processes.count(),
            "problems": self._problems(self.drawn.transfer),
            "strategy": strategy,
            "student_conversations": digest({id_: pair.student for id_, pair in conversations.items()}),
            **(self._teacher_identity(teacher, conversations) if teacher else {}),
            "environment": environment("torch", "transformers", "peft"),
        }

        def work(folder: Path, inputs: list[Path], scratch: Path) -> None:
            from kdprobe.distill.distiller import TrainContext
            from kdprobe.transfer.transfer_set import read

            taught = read(inputs[0]) if transfer else None
            problems = self.drawn.transfer
            if selected:
                kept = read_json(inputs[-1] / SELECTION)
                answers = {(id_, sample) for id_, sample in kept[inputs[0].name if transfer else next(iter(kept))]}
                problems = tuple(problem for problem in problems if problem.id in {id_ for id_, _ in answers})
                taught = taught.only(answers) if taught else None
            trained = distiller.train(
                TrainContext(
                    student=self.student,
                    dtype=self.experiment.distill.dtype,
                    problems=problems,
                    conversations=conversations,
                    transfer=taught,
                    teacher=teacher,
                    seed=seed,
                    folder=folder / ADAPTER,
                    label=f"Training {arm}" if name == "fine-tune" else f"Distilling {arm}",
                    scratch=scratch,
                )
            )
            books = {name: value for name, value in asdict(trained).items() if name != "adapter"}
            write_json(folder / TRAINING, {"caution": caution} | books)

        return Stage("distill", arm, settings, tuple(stage for stage in (transfer, selected) if stage), work)

    def _teacher_identity(self, teacher: Any, conversations: Mapping[str, PromptPair]) -> dict[str, Any]:
        """What of a teacher, and of what it reads, decides what it says."""
        return {
            "teacher": teacher.provenance,
            "plugin": plugin_identity(self.host, "teachers", self.experiment.teacher.name),
            "conversations": digest({id_: pair.teacher for id_, pair in conversations.items()}),
        }

    def _texts(self) -> Any:
        """What decides the texts of the transfer sets besides the teacher; a strategy's are an input stage."""
        texts = self.experiment.transfer.texts
        if texts == GOLD:
            return self._problems(self.drawn.transfer)
        if texts.endswith(TEXT_FILE):
            return digest_files([Path(texts)]) if Path(texts).is_file() else None
        return None

    @property
    def needs_responses(self) -> bool:
        """Whether the distiller learns from a transfer set."""
        config = self.experiment.distill
        return "responses" in self._build("distillers", config.name, config.options).needs

    def _student(self, arm: str, inputs: list[Path]) -> Any:
        from kdprobe.students.student import Student

        return Student(arm, self.student, inputs[0] / ADAPTER if inputs else None)

    def _sampling(self, more: tuple[float, ...] = ()) -> Any:
        from kdprobe.teachers.teacher import Sampling

        config = self.experiment.distill
        distiller = self._build("distillers", config.name, config.options)
        temperatures = tuple(sorted({1.0, *distiller.temperatures(), *more}))
        return Sampling(**self.experiment.transfer.sampling, temperatures=temperatures)

    def _problems(self, problems: tuple[Problem, ...]) -> dict[str, Any]:
        return {"source": self._source(), "digest": digest([problem.as_row() for problem in problems])}

    def _source(self) -> dict[str, str]:
        return plugin_identity(self.host, "problem-sources", self.experiment.problems.source)

    def _strategy(self, arm: str) -> dict[str, str]:
        """Which plugin rendered the conversations of an arm, as this run calls it."""
        name = next(strategy.name for strategy in self.experiment.strategies if strategy.arm == arm)
        return plugin_identity(self.host, "strategies", name)

    def _build(self, kind: str, name: str, options: dict[str, Any]) -> Any:
        return self.host.make(kind, name, options)


def caution_of(host: Host, distiller: str) -> str:
    """What everybody must know who sees a distiller's students; empty for most."""
    spec = host.get("distillers", distiller).spec
    return spec.caution if isinstance(spec, DistillerSpec) else ""


def plugin_identity(host: Host, kind: str, name: str) -> dict[str, str]:
    """Name, version and source hash of the plugin behind a spec."""
    provider = host.get(kind, name).provider
    return {"plugin": provider.name, "version": provider.version, "source": provider.source_hash}
