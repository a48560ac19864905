"""Asking a teacher every problem under one strategy, or having it score existing texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kdprobe.console import warn
from kdprobe.errors import KdprobeError
from kdprobe.problems.problem import Problem
from kdprobe.redaction import without_secrets
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.teachers.teacher import Passage, Request, Response, Sampling, ScoringTeacher, Teacher, checked
from kdprobe.transfer.parts import Answers, forget, in_parts
from kdprobe.transfer.transfer_set import TransferSet

_SHOWN = 3


@dataclass(frozen=True)
class Setting:
    """How a transfer set is made.

    Attributes:
        sampling: How to decode, and what to keep of the distributions.
        manifest: What the manifest says besides teacher and sampling: strategy, tokenizer, `vocabulary`.
        label: How progress calls it.
        scratch: A folder that survives a kill: what is in it is not asked again. `None` saves nothing.
    """

    sampling: Sampling
    manifest: Mapping[str, Any]
    label: str = "Teacher answers"
    scratch: Path | None = None


def capture(
    teacher: Teacher,
    problems: Sequence[Problem],
    conversations: Mapping[str, PromptPair],
    setting: Setting,
    samples: int = 1,
) -> TransferSet:
    """Asks the teacher every problem as the strategy puts it.

    Args:
        teacher: Who answers.
        problems: What is asked, in the order that the transfer set keeps.
        conversations: Problem id to what the strategy made of it.
        setting: How.
        samples: How many answers to each problem.

    Raises:
        KdprobeError: The teacher left a problem unanswered, or answered one twice or without being asked, or no answer
            holds anything.
    """
    by_name = {_name(problem.id, sample): (problem, sample) for problem in problems for sample in range(samples)}
    requests = [Request(name, conversations[problem.id].teacher) for name, (problem, _) in by_name.items()]
    # Longest first, so that a batch holds what is of one length; the order decides the last bits of an answer.
    requests.sort(key=lambda request: (-sum(len(message["content"]) for message in request.messages), request.id))

    def answer(index: int, part: Sequence[Request]) -> Iterable[Response]:
        sampling = replace(setting.sampling, seed=_part_seed(setting.sampling.seed, index))
        return checked(part, teacher.respond(part, sampling))

    answers = _answers(teacher, requests, answer, setting)
    answered = {response.id: response for response in answers.responses}
    responses = [replace(answered[name], id=problem.id, sample=sample) for name, (problem, sample) in by_name.items()]
    if not any(len(response.token_ids) for response in responses):
        # What is changed to have answers may not be part of the key: another server, say.
        forget(setting.scratch)
        reasons = Counter(str(response.finish_reason) for response in responses)
        counted = ", ".join(f"{count} by {reason}" for reason, count in reasons.items())
        raise KdprobeError(
            f"No answer of the teacher holds anything to learn: {counted}.",
            "Read what it says to one of the prompts; a larger token budget helps where all of it is thinking.",
        )
    return _transfer_set(teacher, alike(responses), answers.seconds, setting)


def score(
    teacher: Teacher, texts: Sequence[Response], prompts: Mapping[str, list[int]], setting: Setting
) -> TransferSet:
    """Has the teacher read texts that somebody else wrote, and keeps its distribution at every token of them.

    Args:
        teacher: Who reads.
        texts: What is read, in the order that the transfer set keeps; their own rows, if any, are left out.
        prompts: Problem id to the token ids that the teacher reads before the text.
        setting: How; nothing is sampled.

    Raises:
        KdprobeError: The teacher cannot score.
    """
    if not isinstance(teacher, ScoringTeacher):
        raise KdprobeError(
            "This teacher can answer, and cannot score texts that are there already.",
            'Set transfer.texts = "own" in the config, or use another teacher.',
        )
    by_name = {_name(text.id, text.sample): text for text in texts if len(text.token_ids)}
    passages = [Passage(name, prompts[text.id], text.token_ids.tolist()) for name, text in by_name.items()]
    passages.sort(key=lambda passage: (-len(passage.prompt) - len(passage.token_ids), passage.id))

    def read(_index: int, part: Sequence[Passage]) -> Iterable[Response]:
        scored = teacher.score(part, setting.sampling)
        return checked(part, (replace(by_name[name], id=name, rows=rows) for name, rows in scored))

    answers = _answers(teacher, passages, read, setting)
    scored_texts = {response.id: response for response in answers.responses}
    scored = {(text.id, text.sample): replace(scored_texts[name], id=text.id) for name, text in by_name.items()}
    # There is nothing to read in an answer without tokens.
    responses = [scored.get((text.id, text.sample), replace(text, rows=None)) for text in texts]
    return _transfer_set(teacher, responses, answers.seconds, setting)


def alike(responses: Sequence[Response]) -> list[Response]:
    """Answers that all have log-probabilities, or that all have none, by what most of them have.

    Where most have them, the others keep their text and students learn nothing from them.
    """
    lacking = [response for response in responses if len(response.token_ids) and response.rows is None]
    having = sum(response.rows is not None for response in responses if len(response.token_ids))
    if not lacking or not having:
        return list(responses)
    if having < len(lacking):
        warn(f"{len(lacking)} answers have no log-probabilities, so those of the other {having} are left out.")
        return [replace(response, rows=None) for response in responses]
    named = ", ".join(response.id for response in lacking[:_SHOWN])
    warn(
        f"{len(lacking)} answers have no usable log-probabilities, and students learn nothing from them: {named}"
        f"{' and others' if len(lacking) > _SHOWN else ''}."
    )
    nothing = np.array([], dtype=np.int64)
    return [
        replace(response, token_ids=nothing) if len(response.token_ids) and response.rows is None else response
        for response in responses
    ]


def _answers(teacher: Teacher, questions: Sequence[Any], answer: Any, setting: Setting) -> Answers:
    return in_parts(
        questions,
        teacher.part_size,
        answer,
        vocabulary=setting.manifest["vocabulary"],
        label=setting.label,
        scratch=setting.scratch,
    )


def _transfer_set(teacher: Teacher, responses: Sequence[Response], seconds: float, setting: Setting) -> TransferSet:
    return TransferSet(
        tuple(responses),
        {
            **setting.manifest,
            "teacher": without_secrets(teacher.provenance),
            "sampling": asdict(setting.sampling),
            "seconds": seconds,
        },
    )


def _name(problem: str, sample: int) -> str:
    """A request's id: the problem's, and which of its answers is asked for."""
    return f"{problem}, answer {sample + 1}"


def _part_seed(seed: int, index: int) -> int:
    """A seed for each part, far from those of other parts and other seeds."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
