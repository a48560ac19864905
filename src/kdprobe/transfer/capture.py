"""Captures a teacher's answers to every problem under one strategy, or its scores of existing texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.console.messages import warn
from kdprobe.errors import KdprobeError
from kdprobe.problems.problem import Problem
from kdprobe.redaction import without_secrets
from kdprobe.sequences import LazySequence
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.teachers.checking import checked
from kdprobe.teachers.teacher import Passage, Request, Response, Sampling, Teacher, scoring_teacher
from kdprobe.transfer.adaptive import fewest
from kdprobe.transfer.parts import Answers, forget, in_parts
from kdprobe.transfer.responses import Joined, Responses
from kdprobe.transfer.transfer_set import TransferSet
from kdprobe.words import counted

_SHOWN = 3
Tokens = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Setting:
    """How to make a transfer set.

    Attributes:
        sampling: How to decode, and what to keep of the distributions.
        manifest: The contents of the manifest besides teacher and sampling: strategy, tokenizer, `vocabulary`.
        label: The label of the progress bar.
        scratch: A folder for the answers received so far, which are not requested again after a restart. `None` saves
            nothing.
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
    """Has the teacher answer every problem, with the prompts that the strategy wrote.

    Args:
        teacher: The teacher.
        problems: The problems, in the order of the transfer set.
        conversations: The strategy's prompts by problem id.
        setting: How to capture.
        samples: Number of answers to each problem.

    Raises:
        KdprobeError: The teacher left a problem unanswered, answered one twice, answered one that was not requested, or
            gave no answer with any content.
    """
    by_name = {_name(problem.id, sample): (problem, sample) for problem in problems for sample in range(samples)}
    requests = [Request(name, conversations[problem.id].teacher) for name, (problem, _) in by_name.items()]
    # Longest first, so that prompts in a batch have similar lengths; an answer depends on its batch, and so on this
    # order, in the last bits of its numbers.
    requests.sort(key=lambda request: (-sum(len(message["content"]) for message in request.messages), request.id))

    def answer(index: int, part: Sequence[Request]) -> Iterable[Response]:
        sampling = replace(setting.sampling, seed=_part_seed(setting.sampling.seed, index))
        return _cut(checked(part, teacher.respond(part, sampling)), setting)

    answers = _answers(teacher, requests, answer, setting)
    places = {response.id: place for place, response in enumerate(answers.responses.texts)}

    def named(response: Response) -> Response:
        problem, sample = by_name[response.id]
        return replace(response, id=problem.id, sample=sample)

    responses = answers.responses.chosen(places[name] for name in by_name).changed(named)
    if not any(len(response.token_ids) for response in responses.texts):
        # The fix (another server, say) might leave the stage's key unchanged, so the saved answers must go.
        forget(setting.scratch)
        reasons = Counter(str(response.finish_reason) for response in responses.texts)
        ended = ", ".join(f"{count} ended with finish_reason {reason!r}" for reason, count in reasons.items())
        raise KdprobeError(
            f"All of the teacher's answers are empty: {ended}.",
            "Check how the teacher answers one of the prompts; if it only thinks, a larger token budget helps.",
        )
    return _transfer_set(teacher, alike(responses), answers.seconds, setting)


def score(teacher: Teacher, texts: Sequence[Response], prompts: Mapping[str, Tokens], setting: Setting) -> TransferSet:
    """Has the teacher score existing texts, and keeps its distribution at every token.

    Args:
        teacher: The teacher.
        texts: The texts, in the order of the transfer set; their own rows, if any, are dropped.
        prompts: Token ids of the prompt before each text, by problem id.
        setting: How to capture; nothing is sampled.

    Raises:
        KdprobeError: The teacher cannot score.
    """
    scoring = scoring_teacher(teacher)
    given = Responses.of(texts).texts
    names = [_name(text.id, text.sample) for text in given]
    places = {name: place for place, name in enumerate(names)}
    passages = _passages(given, prompts)

    def read(_index: int, part: Sequence[Passage]) -> Iterable[Response]:
        batch = [*part]
        scored = scoring.score(batch, setting.sampling)
        rated = (replace(given[places[name]], id=name, rows=rows) for name, rows in scored)
        return _cut(checked(batch, rated), setting)

    answers = _answers(teacher, passages, read, setting)
    scored = {response.id: place for place, response in enumerate(answers.responses.texts)}
    renamed = answers.responses.changed(lambda response: replace(response, id=given[places[response.id]].id))
    # An answer without tokens has nothing to score.
    order = [scored.get(name, len(scored) + place) for place, name in enumerate(names)]
    return _transfer_set(teacher, Responses(Joined([renamed, given]), order), answers.seconds, setting)


def _passages(texts: Responses, prompts: Mapping[str, Tokens]) -> LazySequence[Passage]:
    """The passages of texts that have tokens, longest first."""
    lengths = [
        (-len(prompts[text.id]) - len(text.token_ids), _name(text.id, text.sample), index)
        for index, text in enumerate(texts)
        if len(text.token_ids)
    ]

    def passage(index: int) -> Passage:
        text = texts[index]
        return Passage(_name(text.id, text.sample), np.asarray(prompts[text.id]).tolist(), text.token_ids.tolist())

    return LazySequence(passage, [index for *_, index in sorted(lengths)])


def _cut(responses: Iterable[Response], setting: Setting) -> Iterator[Response]:
    """The responses, with as few tokens at every position as the setting asks for."""
    tail = setting.sampling.tail
    for response in responses:
        if tail is None or response.rows is None:
            yield response
        else:
            yield replace(response, rows=fewest(response.rows, tail))


def alike(responses: Responses) -> Responses:
    """Makes answers uniform: all with log-probabilities or all without, depending on what most of them have.

    If most have them, the others keep their text but students learn nothing from them.
    """
    having, lacking = 0, []
    for place, response in enumerate(responses.texts):
        if len(response.token_ids) and responses.has_distributions(place):
            having += 1
        elif len(response.token_ids):
            lacking.append(response)
    if not lacking or not having:
        return responses
    if having < len(lacking):
        warn(
            f"{counted(len(lacking), 'answer has', 'answers have')} no log-probabilities, so those of "
            f"{counted(having, 'other answer')} are ignored."
        )
        return responses.texts
    named = ", ".join(response.id for response in lacking[:_SHOWN])
    warn(
        f"{counted(len(lacking), 'answer has', 'answers have')} no usable log-probabilities, so students learn nothing "
        f"from {'it' if len(lacking) == 1 else 'them'}: {named}"
        f"{' and others' if len(lacking) > _SHOWN else ''}."
    )
    nothing = np.array([], dtype=np.int64)
    emptied = {(response.id, response.sample) for response in lacking}
    return responses.changed(
        lambda response: replace(response, token_ids=nothing) if (response.id, response.sample) in emptied else response
    )


def _answers(teacher: Teacher, questions: Sequence[Any], answer: Any, setting: Setting) -> Answers:
    return in_parts(
        questions,
        teacher.part_size,
        answer,
        vocabulary=setting.manifest["vocabulary"],
        label=setting.label,
        scratch=setting.scratch,
    )


def _transfer_set(teacher: Teacher, responses: Responses, seconds: float, setting: Setting) -> TransferSet:
    return TransferSet(
        responses,
        {
            **setting.manifest,
            "teacher": without_secrets(teacher.provenance),
            "sampling": asdict(setting.sampling),
            "seconds": seconds,
        },
    )


def _name(problem: str, sample: int) -> str:
    """A request's id: the problem's id and the index of the sample."""
    return f"{problem}, answer {sample + 1}"


def _part_seed(seed: int, index: int) -> int:
    """A seed for each part, far from those of other parts and other seeds."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
