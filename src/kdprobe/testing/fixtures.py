"""The kit's fixtures: a tiny model, problems, and the contexts that distillers and analyses get."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kdprobe.testing.word_problems import other_numbers, some_problems

if TYPE_CHECKING:
    from kdprobe.distill.distiller import TrainContext
    from kdprobe.models.reference import ModelRecord
    from kdprobe.probing.analysis import AnalysisContext
    from kdprobe.probing.priming.teaching import Teaching
    from kdprobe.problems.problem import Problem
    from kdprobe.strategies.prompt_pair import PromptPair
    from kdprobe.teachers.teacher import Teacher
    from kdprobe.transfer.transfer_set import TransferSet


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model with a chat tokenizer."""
    from kdprobe.testing.models import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def tiny_record(tiny_model: Path) -> ModelRecord:
    """The tiny model as a student's base."""
    from kdprobe.models.reference import resolve

    return resolve(str(tiny_model))


@pytest.fixture(scope="session")
def tiny_teacher(tiny_model: Path) -> Callable[..., Teacher]:
    """The tiny model as a teacher: `tiny_teacher(batch_size=4)`."""
    from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher

    def make(batch_size: int = 4) -> Teacher:
        return TransformersTeacher(TransformersOptions(model=str(tiny_model), batch_size=batch_size))

    return make


@pytest.fixture(scope="session")
def problems() -> list[Problem]:
    """Six problems."""
    return some_problems()


@pytest.fixture(scope="session")
def conversations(problems: list[Problem]) -> dict[str, PromptPair]:
    """For each problem id, the two conversations that the built-in strategy `teacher` renders."""
    from kdprobe.host.candidates import builtin_candidates
    from kdprobe.host.discovery import discover
    from kdprobe.host.registry import Host

    render = Host(discover(builtin_candidates())).create("strategies", "teacher")
    return {problem.id: render(problem) for problem in problems}


@pytest.fixture(scope="session")
def tiny_transfer_set(
    tiny_teacher: Callable[..., Teacher],
    tiny_record: ModelRecord,
    problems: list[Problem],
    conversations: dict[str, PromptPair],
) -> Callable[..., TransferSet]:
    """A function that returns the tiny teacher's answers: `tiny_transfer_set(temperatures=(1.0, 2.0))`."""
    from kdprobe.models.conversation import template_digest, tokenizer_digest
    from kdprobe.models.load import load_tokenizer
    from kdprobe.teachers.teacher import Sampling
    from kdprobe.transfer.capture import Setting, capture

    tokenizer = load_tokenizer(tiny_record)
    manifest = {
        "strategy": "teacher",
        "tokenizer": tokenizer_digest(tokenizer),
        "vocabulary": len(tokenizer),
        "chat_template": template_digest(tokenizer),
    }

    def ask(temperatures: Iterable[float] = ()) -> TransferSet:
        tail_temperatures = tuple(sorted({1.0, *temperatures}))
        sampling = Sampling(max_new_tokens=8, top_logprobs=16, temperatures=tail_temperatures)
        return capture(tiny_teacher(), problems, conversations, Setting(sampling, manifest))

    return ask


@pytest.fixture
def train_context(  # noqa: PLR0917 - pytest passes them by name
    tmp_path: Path,
    tiny_record: ModelRecord,
    tiny_teacher: Callable[..., Teacher],
    tiny_transfer_set: Callable[..., TransferSet],
    problems: list[Problem],
    conversations: dict[str, PromptPair],
) -> Callable[..., TrainContext]:
    """A function that makes a distiller's context, with only what it needs: `train_context(needs, temperatures)`."""
    from kdprobe.distill.distiller import TrainContext

    def make(needs: Iterable[str] = (), temperatures: Iterable[float] = (), seed: int = 0) -> TrainContext:
        return TrainContext(
            student=tiny_record,
            dtype="float32",
            problems=problems,
            conversations=conversations,
            transfer=tiny_transfer_set(temperatures) if "responses" in needs else None,
            teacher=tiny_teacher() if "teacher" in needs else None,
            seed=seed,
            folder=tmp_path / f"adapter-{seed}",
        )

    return make


@pytest.fixture(scope="session")
def analysis_context(  # noqa: PLR0917 - pytest passes them by name
    tiny_model: Path,
    tiny_record: ModelRecord,
    tiny_teacher: Callable[..., Teacher],
    problems: list[Problem],
    conversations: dict[str, PromptPair],
    tmp_path_factory: pytest.TempPathFactory,
) -> AnalysisContext:
    """An analysis's context: the untrained tiny model and one with a random adapter, problems, scores and teaching.

    The problems have counterfactuals. In the teaching, the students' names are those of two strategies: one unprimed,
    one primed.
    """
    from kdprobe.host.candidates import builtin_candidates
    from kdprobe.host.discovery import discover
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext
    from kdprobe.probing.metrics.metric import head_metrics_of
    from kdprobe.students.student import Student
    from kdprobe.testing.models import write_random_adapter

    adapter = write_random_adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "random")
    students = [Student("untrained", tiny_record), Student("tuned", tiny_record, adapter)]
    built_ins = Host(discover(builtin_candidates()))
    return AnalysisContext(
        students,
        problems,
        batch_size=2,
        records={student.name: _records(problems, index) for index, student in enumerate(students)},
        head_metrics=head_metrics_of(built_ins),
        teaching=_teaching(tiny_teacher(), tiny_record, problems, conversations),
        counterfactuals=other_numbers,
    )


def _teaching(
    teacher: Teacher, record: ModelRecord, problems: list[Problem], conversations: dict[str, PromptPair]
) -> Teaching:
    """What the tiny teacher reads and writes."""
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load_tokenizer
    from kdprobe.probing.priming.teaching import Priming, Teaching
    from kdprobe.strategies.prompt_pair import PromptPair, bare
    from kdprobe.teachers.teacher import Request, Sampling

    tokenizer = load_tokenizer(record)
    unprimed = {problem.id: PromptPair(bare(problem), bare(problem)) for problem in problems}
    primings = []
    for strategy, pairs in {"untrained": unprimed, "tuned": conversations}.items():
        requests = [Request(problem.id, pairs[problem.id].teacher) for problem in problems]
        answers = {answer.id: answer for answer in teacher.respond(requests, Sampling(max_new_tokens=8))}
        primings.append(
            Priming(
                strategy,
                pairs is unprimed,
                prompts={id_: prompt_ids(tokenizer, pair.teacher) for id_, pair in pairs.items()},
                responses=[answers[problem.id] for problem in problems],
                tests=pairs,
            )
        )
    return Teaching(teacher, problems, primings, "own")


def _records(problems: list[Problem], right_parity: int) -> list[dict[str, Any]]:
    """Answers as an evaluation saves them; those at even or at odd indices are correct."""
    return [
        {
            "id": problem.id,
            "group": problem.group,
            "gold": problem.value,
            "response": problem.plain_solution if index % 2 == right_parity else "I do not know.\n#### 0",
            "correct": index % 2 == right_parity,
            "cut_off": False,
            "tokens": 8 + index,
            "log_p_gold_value": -1.0 - index,
            "log_p_gold_solution": -9.0 - index,
        }
        for index, problem in enumerate(problems)
    ]
