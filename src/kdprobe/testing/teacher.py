"""The contract of a teacher: it answers every request once, with normalised and aligned log-probabilities."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from kdprobe.errors import KdprobeError
from kdprobe.host.registry import Host
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import bare
from kdprobe.teachers.checking import checked
from kdprobe.teachers.teacher import Passage, Request, Response, Sampling, ScoringTeacher, SparseRows
from kdprobe.testing.contract import ContractError, require
from kdprobe.testing.word_problems import some_problems

TOLERANCE = 1e-3
"""In nats; a teacher with rounded log-probabilities needs a larger one."""


def check_teacher(
    host: Host,
    name: str,
    options: dict[str, Any],
    *,
    problems: list[Problem] | None = None,
    sampling: Sampling | None = None,
    tolerance: float = TOLERANCE,
) -> list[Response]:
    """Has a teacher answer bare questions greedily, and checks the answers.

    Args:
        host: The host that provides it.
        name: The teacher.
        options: Its options, as in a config.
        problems: The problems to answer; by default a few of the kit's own.
        sampling: How to sample; it must be greedy, otherwise the alignment cannot be checked from outside.
        tolerance: How far, in nats, the sum of the probabilities may be from 1.

    Returns:
        Its answers, in the order of the problems, for the plugin's own tests.

    Raises:
        ContractError: A request is unanswered or answered twice, the provenance is not JSON, or the log-probabilities
            are not normalised, not sorted, or belong to different tokens.
    """
    teacher = host.create("teachers", name, options)
    _check_provenance(teacher, name)
    sampling = sampling or Sampling(max_new_tokens=8, top_logprobs=8, temperatures=(1.0, 2.0))
    require(sampling.temperature == 0, "check_teacher decodes greedily: pass a sampling with temperature 0.")
    cases = some_problems(3) if problems is None else problems
    requests = [Request(problem.id, bare(problem)) for problem in cases]
    try:
        answers = {answer.id: answer for answer in checked(requests, teacher.respond(requests, sampling))}
    except KdprobeError as error:
        raise ContractError(f"The teacher {name!r}: {error.message}") from error
    for answer in answers.values():
        _check_answer(answer, sampling, name, tolerance)
    if isinstance(teacher, ScoringTeacher) and hasattr(teacher, "record"):
        _check_scoring(teacher, requests, answers, sampling, name)
    return [answers[problem.id] for problem in cases]


def _check_provenance(teacher: Any, name: str) -> None:
    try:
        json.dumps(teacher.provenance, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ContractError(f"The provenance of {name!r} must be serialisable as JSON: {error}.") from error
    require(
        teacher.provenance,
        f"The provenance of {name!r} is empty; it must list everything that determines the answers.",
    )
    require(
        teacher.part_size is None or (isinstance(teacher.part_size, int) and teacher.part_size >= 1),
        f"The part_size of {name!r} must be a positive integer or None, not {teacher.part_size!r}.",
    )


def _check_answer(answer: Response, sampling: Sampling, name: str, tolerance: float) -> None:
    label = f"The answer of {name!r} to {answer.id!r}"
    require(isinstance(answer.text, str), f"{label} has no text.")
    if answer.rows is None or not len(answer.token_ids):
        return
    ids = np.asarray(answer.token_ids)
    require(ids.ndim == 1 and len(ids) > 0, f"{label} must have token ids of shape [tokens], not {ids.shape}.")
    require(
        len(ids) <= sampling.max_new_tokens,
        f"{label} has {len(ids)} tokens, more than the budget of {sampling.max_new_tokens}.",
    )
    _check_shapes(answer.rows, len(ids), sampling, label)
    _check_normalised(answer.rows, label, tolerance)
    _check_aligned(answer.rows, ids, label, tolerance)


def _check_shapes(rows: SparseRows, tokens: int, sampling: Sampling, label: str) -> None:
    k = np.shape(rows.ids)[-1]
    fields: list[tuple[str, Any, tuple[int, ...]]] = [
        ("ids", rows.ids, (tokens, k)),
        ("logprobs", rows.logprobs, (tokens, k)),
        ("token_logprobs", rows.token_logprobs, (tokens,)),
        *((f"tail_logmass[{t}]", rows.tail_logmass.get(t), (tokens,)) for t in sampling.temperatures),
    ]
    for field, value, shape in fields:
        require(value is not None, f"{label} lacks {field}.")
        require(
            np.shape(value) == shape,
            f"{label} has {tokens} tokens, so rows.{field} must have shape {list(shape)}, not {list(np.shape(value))}.",
        )
        require(not np.isnan(value).any(), f"{label} has NaN in rows.{field}.")
    require(
        k <= sampling.top_logprobs,
        f"{label} has {k} log-probabilities per token; {sampling.top_logprobs} were requested.",
    )
    require(
        all(len(set(row)) == k for row in np.asarray(rows.ids).tolist()), f"{label} lists a token twice in one row."
    )


def _check_normalised(rows: SparseRows, label: str, tolerance: float) -> None:
    logprobs = np.asarray(rows.logprobs, dtype=np.float64)
    require((logprobs <= tolerance).all(), f"{label} has log-probabilities above 0: they must be natural logarithms.")
    require(
        (np.diff(logprobs, axis=-1) <= tolerance).all(),
        f"{label}: rows.logprobs must be sorted, with the most probable token first.",
    )
    mass = np.exp(logprobs).sum(axis=-1) + np.exp(np.asarray(rows.tail_logmass[1.0], dtype=np.float64))
    worst = float(np.abs(np.log(mass)).max())
    require(
        worst <= tolerance,
        f"{label} is not normalised: the top k and the tail sum to {float(mass[np.abs(np.log(mass)).argmax()]):.4f}, "
        "not to 1.",
    )


def _check_aligned(rows: SparseRows, ids: np.ndarray[Any, Any], label: str, tolerance: float) -> None:
    """Under greedy decoding, each token written is the most probable one in its own row."""
    listed = np.asarray(rows.ids) == ids[:, None]
    token_logprobs = np.asarray(rows.token_logprobs, dtype=np.float64)
    # Ties may be broken either way, so a token that is nearly the best counts as the best.
    best = np.asarray(rows.logprobs, dtype=np.float64)[:, 0]
    shifted = next(
        (
            position
            for position in range(len(ids))
            if not listed[position].any() or token_logprobs[position] < best[position] - tolerance
        ),
        None,
    )
    require(
        shifted is None,
        f"{label}: rows do not match their tokens. Decoding is greedy, but the token at position {shifted} (counted "
        "from 0) is not the most probable one in its row; check for an off-by-one shift.",
    )
    listed_logprobs = np.where(listed, np.asarray(rows.logprobs, dtype=np.float64), 0.0).sum(axis=-1)
    require(
        np.allclose(listed_logprobs, token_logprobs, atol=tolerance),
        f"{label}: rows.token_logprobs differ from rows.logprobs for the same tokens.",
    )


def _check_scoring(
    teacher: Any, requests: list[Request], answers: dict[str, Response], sampling: Sampling, name: str
) -> None:
    """A teacher that scores its own answer must find it as probable as when it wrote it."""
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load_tokenizer

    tokenizer = load_tokenizer(teacher.record)
    with_rows = {request.id: answers[request.id] for request in requests if answers[request.id].rows is not None}
    passages = [
        Passage(request.id, prompt_ids(tokenizer, request.messages), with_rows[request.id].token_ids.tolist())
        for request in requests
        if request.id in with_rows
    ]
    scored = dict(teacher.score(passages, sampling))
    require(scored.keys() == with_rows.keys(), f"{name!r} scores {sorted(scored)} instead of {sorted(with_rows)}.")
    for id_, answer in with_rows.items():
        if answer.rows is None:
            continue
        differences = np.abs(np.asarray(scored[id_].token_logprobs) - np.asarray(answer.rows.token_logprobs))
        require(
            differences.shape == answer.token_ids.shape and differences.max() <= _RESCORING_TOLERANCE,
            f"{name!r} scores its own answer to {id_!r} differently from when it wrote it, by "
            f"{differences.max():.3f} nats.",
        )


_RESCORING_TOLERANCE = 0.05
"""In nats; batches of different shapes round differently, in half precision by a few hundredths."""
