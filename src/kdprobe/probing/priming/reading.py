"""Reads text with the teacher after a primed and after the bare prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.errors import KdprobeError, NonFiniteError, UsageError
from kdprobe.models.devices.spread import refuse_offloaded
from kdprobe.models.load import LoadedModel
from kdprobe.models.outline.blueprint import context_length
from kdprobe.probing.drift.divergence import log_distribution, token_divergences
from kdprobe.probing.outputs.differences.reading import Reading, reading
from kdprobe.probing.priming.teaching import Priming, Teaching
from kdprobe.problems.problem import Problem
from kdprobe.teachers.local import LocalTeacher
from kdprobe.teachers.teacher import Response

TEACHER = "the teacher"


@dataclass(frozen=True)
class TokenChanges:
    """What priming changes at each token of a text.

    Attributes:
        kl: KL(primed || bare) of the teacher's next-token distributions, `[token]`, in nats.
        log_p: Log-probability of the token after the primed and after the bare prompt, `[token, 2]`, in nats.
        greedy: The id of the most likely token after each prompt, `[token, 2]`.
    """

    kl: NDArray[np.float64]
    log_p: NDArray[np.float64]
    greedy: NDArray[np.int64]


def loaded_teacher(teaching: Teaching, otherwise: str) -> LoadedModel:
    """The teacher's model, if there is one here.

    Args:
        teaching: The teacher, and what it did.
        otherwise: What a teacher that runs elsewhere does not allow, as the end of a sentence.

    Raises:
        KdprobeError: There is no transfer set, or the teacher does not run here.
    """
    if not teaching.primings:
        raise KdprobeError("This experiment's distiller does not learn from a teacher's answers, so nothing is primed.")
    if not isinstance(teaching.teacher, LocalTeacher):
        raise UsageError(
            f"The teacher runs elsewhere and {otherwise}.", "Use the teacher `transformers`, which runs here."
        )
    loaded = teaching.teacher.loaded()
    refuse_offloaded(loaded, "Probing")
    return loaded


@contextmanager
def teacher_reading(teaching: Teaching) -> Iterator[Reading]:
    """The teacher as it is read here.

    Raises:
        KdprobeError: There is no transfer set, the teacher does not run here, or its logits cannot be computed from its
            last hidden states.
    """
    loaded = loaded_teacher(
        teaching, "returns probabilities of only its most likely tokens, but the probability of every token is needed"
    )
    with reading(TEACHER, loaded) as read:
        yield read


def refuse_long(config: Any, prompt: Sequence[int], text: Sequence[int]) -> None:
    """Checks that a prompt with its text fits into the teacher's context.

    Raises:
        UsageError: It does not.
    """
    length, window = len(prompt) + len(text), context_length(config)
    if window is not None and length > window:
        raise UsageError(
            f"A prompt and the text after it have {length} tokens in total, but the teacher's context window is "
            f"{window} tokens.",
            "Leave out long problems.",
        )


def read_responses(teaching: Teaching, priming: Priming, most: int) -> Iterator[tuple[Problem, Response]]:
    """The first responses of a strategy with their problems, without empty ones.

    Raises:
        KdprobeError: The prompts that the teacher read were not recorded.
    """
    by_id = {problem.id: problem for problem in teaching.problems}
    for response in priming.responses[:most]:
        if not len(response.token_ids):
            continue
        if response.id not in priming.prompts:
            raise KdprobeError(
                "The prompts that the teacher read were not recorded.", "Its plugin must return their token ids."
            )
        yield by_id[response.id], response


@torch.inference_mode()
def token_changes(teacher: Reading, primed: Sequence[int], bare: Sequence[int], text: Sequence[int]) -> TokenChanges:
    """Compares the teacher with itself on the same token ids after two prompts.

    If both prompts are the same, nothing changes, and every divergence is exactly 0.

    Args:
        teacher: The teacher.
        primed: Token ids of the primed prompt.
        bare: Token ids of the bare prompt.
        text: Token ids of the text after each prompt.

    Raises:
        UsageError: The longer prompt with the text does not fit into the teacher's context.
        NonFiniteError: A divergence is NaN or infinite.
    """
    states = {tuple(prompt): _states(teacher, prompt, text) for prompt in {tuple(primed), tuple(bare)}}
    p_states, q_states = states[tuple(primed)], states[tuple(bare)]
    tokens = torch.tensor(list(text), device=p_states.device)
    kl, log_p, greedy = [], [], []
    for rows in teacher.chunks(len(tokens)):
        both = [log_distribution(teacher.output.logits(each[rows])) for each in (p_states, q_states)]
        kl.append(token_divergences(*both).double().cpu().numpy())
        log_p.append(torch.stack([_of(each, tokens[rows]) for each in both], dim=1).double().cpu().numpy())
        greedy.append(torch.stack([each.argmax(dim=-1) for each in both], dim=1).cpu().numpy())
    changes = TokenChanges(np.concatenate(kl), np.concatenate(log_p), np.concatenate(greedy))
    if not (np.isfinite(changes.kl).all() and np.isfinite(changes.log_p).all()):
        raise NonFiniteError("The teacher's logits are NaN or infinite.")
    return changes


@torch.inference_mode()
def log_probabilities(teacher: Reading, prompt: Sequence[int], text: Sequence[int]) -> NDArray[np.float64]:
    """The teacher's log-probability of every token of a text after a prompt, `[token]`; raises like `token_changes`."""
    states = _states(teacher, prompt, text)
    tokens = torch.tensor(list(text), device=states.device)
    found = [
        _of(log_distribution(teacher.output.logits(states[rows])), tokens[rows]).double().cpu().numpy()
        for rows in teacher.chunks(len(tokens))
    ]
    log_p: NDArray[np.float64] = np.concatenate(found)
    if not np.isfinite(log_p).all():
        raise NonFiniteError("The teacher's logits are NaN or infinite.")
    return log_p


def _states(teacher: Reading, prompt: Sequence[int], text: Sequence[int]) -> Tensor:
    """What the output layer reads to predict each token of the text, `[token, d_model]`."""
    refuse_long(teacher.loaded.model.config, prompt, text)
    return teacher.states((*prompt, *text))[-len(text) :]


def _of(log_p: Tensor, tokens: Tensor) -> Tensor:
    """The log-probability of one token per row, `[row]`."""
    return log_p.gather(1, tokens[:, None])[:, 0]
