"""What the stages of one experiment share, and which parts of it determine their keys.

A key contains everything that determines what a stage produces, and nothing else. Code shipped with kdprobe is
represented by a format number, which is increased when the code produces something else; a third-party plugin also by
its version and a digest of its source. kdprobe's own version, its source text and paths are not part of keys, so code
may move.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kdprobe.errors import KdprobeError
from kdprobe.experiment.config import Experiment
from kdprobe.experiment.config_checks import GOLD, TEXT_FILE
from kdprobe.experiment.stages.engine import ChosenEngine
from kdprobe.experiment.stages.plugin_key import plugin_key
from kdprobe.experiment.teaching.chosen import chosen_teacher
from kdprobe.files import digest, digest_files
from kdprobe.host.candidates import BUILTIN
from kdprobe.host.registry import Host
from kdprobe.models.conversation import Messages, texts_digest
from kdprobe.models.outline.blueprint import Blueprint, Modules, blueprint, modules
from kdprobe.models.outline.device import concrete_dtype, default_device
from kdprobe.models.outline.helpers import Helpers
from kdprobe.models.outline.memory import Memory
from kdprobe.models.outline.reader import Reader
from kdprobe.models.outline.tokenizers import TokenizerMatch, match_tokenizers
from kdprobe.models.reference import ModelRecord
from kdprobe.problems.draw import Draw
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, bare
from kdprobe.students.pool import StudentPool
from kdprobe.students.student import Student
from kdprobe.teachers.teacher import ClosableTeacher, RenderingTeacher

if TYPE_CHECKING:
    from kdprobe.evaluation.engines.engine import EngineStudent

Known = TypeVar("Known")


@dataclass(frozen=True)
class StageContext:
    """The basis for the stages of one experiment.

    Attributes:
        experiment: Its config.
        host: The plugins.
        student: The base model of all students.
        problems: The problems, transfer and test.
        pool: What is loaded of the students, shared by the stages that examine them.
        memory: What earlier plans found out about models and texts.
        helpers: Where models and tokenizers are examined; by default in this process.
    """

    experiment: Experiment
    host: Host
    student: ModelRecord
    problems: Draw
    pool: StudentPool = field(default_factory=StudentPool, compare=False, repr=False)
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)
    helpers: Helpers | None = field(default=None, compare=False, repr=False)
    _known: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)
    """What contexts derived from this one share; these differ only in the options of the distiller."""

    @property
    def distiller(self) -> Any:
        """The distiller of the config."""
        config = self.experiment.distill
        return self.host.create("distillers", config.name, config.options)

    @property
    def teacher(self) -> Any:
        """The teacher of the config, with its conversation settings; its weights are loaded when it is first used.

        Raises:
            KdprobeError: The teacher does not support the settings in `[conversation]`.
        """
        return self._once("teacher", self._new_teacher)

    def _new_teacher(self) -> Any:
        teacher = chosen_teacher(self.experiment, self.host)
        if isinstance(teacher, ClosableTeacher):
            self.pool.opened(teacher.close)
        return teacher

    @property
    def engine(self) -> ChosenEngine:
        """The engine that runs the students in evaluations; the pool closes it."""
        return self._once("engine", self._new_engine)

    def _new_engine(self) -> ChosenEngine:
        config = self.experiment.evaluation
        engine = ChosenEngine(
            self.host, config.engine, self.host.options("engines", config.engine, config.engine_options)
        )
        self.pool.opened(engine.close)
        return engine

    def load(self, student: Student) -> EngineStudent:
        """A student, loaded with the engine in the data type of the config; raises like `Engine.load`."""
        teacher = self._known.get("teacher")
        if isinstance(teacher, ClosableTeacher):
            # Students need its memory.
            teacher.close()
        dtype = concrete_dtype(self.experiment.student.dtype, default_device())
        return self.engine.load(student, dtype=dtype, bases=self.pool.bases)

    @property
    def uses_teacher(self) -> bool:
        """Whether the distiller learns from a teacher."""
        return bool({"responses", "teacher"} & set(self.distiller.needs))

    @property
    def student_reader(self) -> Reader:
        """What students read, and their tokenizer."""
        return self._reader(self.student)

    @cached_property
    def teacher_reader(self) -> Reader:
        """What the teacher reads, and the tokenizer that its token ids are from; the student's if it names none."""
        record: ModelRecord = getattr(self.teacher, "record", self.student)
        provider = self.host.get("teachers", self.experiment.teacher.name).provider
        if provider.source != BUILTIN and isinstance(self.teacher, RenderingTeacher):
            rendered = self.teacher.rendered
            return Reader(record, self.memory, lambda conversations: [str(rendered(one)) for one in conversations])
        return self.student_reader if record.as_key() == self.student.as_key() else self._reader(record)

    @property
    def student_blueprint(self) -> Blueprint:
        """The student without its weights; raises like `blueprint`."""
        return self._once(("blueprint", self.student), lambda: blueprint(self.student, self.memory, self.helpers))

    @property
    def student_modules(self) -> Modules:
        """The names of the student's modules; raises like `modules`."""
        return self._once(("modules", self.student), lambda: modules(self.student, self.memory, self.helpers))

    @cached_property
    def teacher_blueprint(self) -> Blueprint | None:
        """The teacher without its weights, if they are needed here; raises like `blueprint`."""
        record = getattr(self.teacher, "record", None) if self.uses_teacher else None
        if record is None or not isinstance(self.teacher, RenderingTeacher):
            return None
        return blueprint(record, self.memory, self.helpers)

    @cached_property
    def tokenizer_match(self) -> TokenizerMatch:
        """How the teacher's token ids map to the student's tokenizer and to matrices of the student's size."""
        writer, reader = self.teacher_reader, self.student_reader

        def compare() -> dict[str, Any]:
            match = TokenizerMatch() if writer is reader else self.asked(match_tokenizers, [writer, reader])
            return {"difference": match.difference, "foreign": sorted(match.foreign)}

        asked = {"writer": writer.record.as_key(), "reader": reader.record.as_key()}
        found = self.memory.general.recall("tokenizers compared", asked, compare)
        match = TokenizerMatch(found["difference"], frozenset(found["foreign"]))
        return match.within(self.student_blueprint.rows, writer.size)

    def student_prompts(self, conversations: Mapping[str, PromptPair]) -> str:
        """Digest of what students read in training; raises like `Reader.prompts`."""
        return self.student_reader.prompts([pair.student for pair in conversations.values()])

    def test_prompts(self, problems: Sequence[Problem]) -> str:
        """Digest of what students read for problems they are tested or probed on; raises like `Reader.prompts`."""
        return self.student_reader.prompts([bare(problem) for problem in problems])

    def asked(self, function: Callable[..., Known], readers: Sequence[Reader], *arguments: Any) -> Known:
        """What a function returns for the readers' tokenizers and further arguments; raises likewise."""
        return (self.helpers or Helpers()).ask(function, readers, *arguments)

    def _reader(self, record: ModelRecord) -> Reader:
        return self._once(("reader", record), lambda: Reader(record, self.memory, helpers=self.helpers))

    def _once(self, key: Hashable, make: Callable[[], Known]) -> Known:
        """The result of `make`, computed once for this context and those derived from it."""
        if key not in self._known:
            self._known[key] = make()
        known: Known = self._known[key]
        return known


def problems_key(context: StageContext, problems: Sequence[Problem]) -> dict[str, Any]:
    """The source of the problems, and their content."""
    return {"source": source_key(context), "digest": problems_digest(problems)}


def problems_digest(problems: Sequence[Problem]) -> str:
    """Digest of the full content of problems."""
    return _digest(tuple(problems))


@lru_cache(maxsize=8)
def _digest(problems: tuple[Problem, ...]) -> str:
    return digest([problem.as_row() for problem in problems])


def source_key(context: StageContext) -> dict[str, Any]:
    """The plugin that provides the problems."""
    return plugin_key(context.host, "problem-sources", context.experiment.problems.source)


def strategy_key(context: StageContext, label: str) -> dict[str, Any]:
    """The plugin that renders a strategy's conversations, given the strategy's label in this run."""
    name = next(strategy.name for strategy in context.experiment.strategies if strategy.display_name == label)
    return plugin_key(context.host, "strategies", name)


def teacher_key(context: StageContext, teacher: Any, conversations: Mapping[str, PromptPair]) -> dict[str, Any]:
    """The parts of a teacher and its input that determine its answers."""
    key = {
        "teacher": teacher.provenance,
        "plugin": plugin_key(context.host, "teachers", context.experiment.teacher.name),
    }
    if isinstance(teacher, RenderingTeacher):
        return key | {"prompts": context.teacher_reader.prompts([pair.teacher for pair in conversations.values()])}
    # What a server renders from messages is unknown here, and it uses its own clock.
    conversation = context.experiment.conversation.conversation
    messages = {id_: conversation.opened(pair.teacher) for id_, pair in conversations.items()}
    return key | {"messages": digest(messages), "template_arguments": dict(conversation.template_arguments)}


def refuse_other_prompts(planned: str, reader: Reader, conversations: Sequence[Messages]) -> None:
    """Checks that a stage reads what it was planned and keyed with, by rendering it again.

    Raises:
        KdprobeError: The stage reads something else.
    """
    if planned != texts_digest(reader.render(conversations)):
        raise KdprobeError(
            "The chat template renders the conversations differently from when this run was planned.",
            "Use the same versions of transformers and of the model's files for planning and running.",
        )


def texts_key(context: StageContext) -> Any:
    """What determines the texts of the transfer sets besides the teacher; a strategy's texts are an input stage."""
    texts = context.experiment.transfer.texts
    if texts == GOLD:
        return problems_key(context, context.problems.transfer)
    if texts.endswith(TEXT_FILE):
        return digest_files([Path(texts)]) if Path(texts).is_file() else None
    return None
