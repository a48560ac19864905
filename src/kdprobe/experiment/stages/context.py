"""What the stages of one experiment share, and which parts of it determine their keys.

A key contains everything that determines what a stage makes, and nothing else. Code shipped with kdprobe is represented
by a format number, which is raised when the code makes something else; a third-party plugin also by its version and a
digest of its source. kdprobe's own version, its source text and paths are not part of keys, so code may move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.errors import KdprobeError
from kdprobe.experiment.config import Experiment
from kdprobe.experiment.config_checks import GOLD, TEXT_FILE
from kdprobe.files import digest
from kdprobe.host.candidates import BUILTIN
from kdprobe.host.registry import Host
from kdprobe.models.conversation import Conversation, Messages, prompt_text, texts_digest
from kdprobe.models.reference import ModelRecord, digest_files
from kdprobe.problems.draw import Draw
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, bare
from kdprobe.students.pool import StudentPool
from kdprobe.teachers.teacher import RenderingTeacher

if TYPE_CHECKING:
    from kdprobe.models.outline.blueprint import Blueprint
    from kdprobe.models.outline.tokenizers import TokenizerMatch


@dataclass(frozen=True)
class StageContext:
    """The basis for the stages of one experiment.

    Attributes:
        experiment: Its config.
        host: The plugins.
        student: The base model of all students.
        problems: The problems, transfer and test.
        pool: What is loaded of the students, shared by the stages that examine them.
    """

    experiment: Experiment
    host: Host
    student: ModelRecord
    problems: Draw
    pool: StudentPool = field(default_factory=StudentPool, compare=False, repr=False)
    _texts: dict[tuple[str, ...], str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def distiller(self) -> Any:
        """The distiller of the config."""
        config = self.experiment.distill
        return self.host.create("distillers", config.name, config.options)

    @cached_property
    def teacher(self) -> Any:
        """The teacher of the config, with its conversation settings; its weights are loaded when it is first used.

        Raises:
            KdprobeError: The teacher does not support the settings in `[conversation]`.
        """
        config, conversation = self.experiment.teacher, self.experiment.conversation.conversation
        teacher = self.host.create("teachers", config.name, config.options)
        if hasattr(teacher, "conversation"):
            teacher.conversation = conversation
        elif conversation != Conversation(date=conversation.date):
            raise KdprobeError(
                f"The teacher {config.name!r} supports neither a system message nor template arguments.",
                "Remove [conversation], or choose another teacher.",
            )
        return teacher

    @property
    def uses_teacher(self) -> bool:
        """Whether the distiller learns from a teacher."""
        return bool({"responses", "teacher"} & set(self.distiller.needs))

    @cached_property
    def tokenizer(self) -> Any:
        """The student's tokenizer."""
        from kdprobe.models.load import load_tokenizer

        return load_tokenizer(self.student)

    @property
    def teacher_record(self) -> ModelRecord:
        """The model whose token ids the teacher uses; the student if the teacher names none."""
        record: ModelRecord = getattr(self.teacher, "record", self.student)
        return record

    @cached_property
    def teacher_tokenizer(self) -> Any:
        """The tokenizer of that model."""
        from kdprobe.models.load import load_tokenizer

        record = self.teacher_record
        return self.tokenizer if record.as_key() == self.student.as_key() else load_tokenizer(record)

    @cached_property
    def student_blueprint(self) -> Blueprint:
        """The student without its weights; raises like `blueprint`."""
        from kdprobe.models.outline.blueprint import blueprint

        return blueprint(self.student)

    @cached_property
    def teacher_blueprint(self) -> Blueprint | None:
        """The teacher without its weights, if they are needed here; raises like `blueprint`."""
        from kdprobe.models.outline.blueprint import blueprint

        record = getattr(self.teacher, "record", None) if self.uses_teacher else None
        return blueprint(record) if record and isinstance(self.teacher, RenderingTeacher) else None

    @cached_property
    def tokenizer_match(self) -> TokenizerMatch:
        """How the teacher's token ids map to the student's tokenizer and to matrices of the student's size."""
        from kdprobe.models.outline.tokenizers import match_tokenizers

        match = match_tokenizers(self.teacher_tokenizer, self.tokenizer)
        return match.within(self.student_blueprint.rows, len(self.teacher_tokenizer))

    def student_text(self, messages: Messages) -> str:
        """The text students read for a conversation, rendered once.

        Raises:
            KdprobeError: The student's chat template rejects the conversation.
        """
        return self._rendered("student", messages, lambda: prompt_text(self.tokenizer, messages))

    def teacher_text(self, messages: Messages) -> str:
        """The text a teacher that renders its own prompts reads for a conversation, rendered once; raises likewise."""
        return self._rendered("teacher", messages, lambda: str(self.teacher.rendered(messages)))

    def _rendered(self, reader: str, messages: Messages, render: Callable[[], str]) -> str:
        key = (reader, *(part for message in messages for part in (message["role"], message["content"])))
        if key not in self._texts:
            self._texts[key] = render()
        return self._texts[key]

    def student_prompts(self, conversations: Mapping[str, PromptPair]) -> str:
        """Digest of what students read in training; raises like `student_text`."""
        return texts_digest(self.student_text(pair.student) for pair in conversations.values())

    def test_prompts(self, problems: Sequence[Problem]) -> str:
        """Digest of what students read for problems they are tested or probed on; raises like `student_text`."""
        return texts_digest(self.student_text(bare(problem)) for problem in problems)


def plugin_key(host: Host, kind: str, name: str) -> dict[str, Any]:
    """The parts of a plugin that determine what it makes."""
    entry = host.get(kind, name)
    provider = entry.provider
    key = {"plugin": name, "format": entry.spec.format}
    if provider.source == BUILTIN:
        return key
    return key | {"package": provider.name, "version": provider.version, "source": provider.source_hash}


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
        return key | {"prompts": texts_digest(context.teacher_text(pair.teacher) for pair in conversations.values())}
    # What a server renders from messages is unknown here, and it uses its own clock.
    conversation = context.experiment.conversation.conversation
    messages = {id_: conversation.opened(pair.teacher) for id_, pair in conversations.items()}
    return key | {"messages": digest(messages), "template_arguments": dict(conversation.template_arguments)}


def prompts_now(render: Callable[[Messages], str], conversations: Iterable[Messages]) -> str:
    """Digest of conversations as rendered now, to compare with the planned ones."""
    return texts_digest(render(messages) for messages in conversations)


def refuse_other_prompts(planned: str, now: str) -> None:
    """Checks that a stage reads what it was planned and keyed with.

    Raises:
        KdprobeError: The stage reads something else.
    """
    if planned != now:
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
