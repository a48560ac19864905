"""What the update of some circuits does alone: switched on in the base, and off in the student."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from kdprobe.console import Progress
from kdprobe.errors import KdprobeError
from kdprobe.models.lm_head import without_lm_head
from kdprobe.probing.circuits.division import Division, Piece
from kdprobe.probing.circuits.exchange import exchanged
from kdprobe.probing.circuits.labels import Circuit
from kdprobe.probing.interventions.exact_effects import started_at
from kdprobe.probing.interventions.forward import TARGETS, CleanRun, InMemory, Reader, clean_run, reader, score
from kdprobe.probing.interventions.sweep import Array
from kdprobe.students.sequence import ProblemSequence

TOLERANCE = 1e-4
"""How far the base with everything switched on may be from the student, in nats."""
_SAME = 1e-5
"""How far a pass that starts in the middle may be from a whole one; otherwise all passes are whole ones."""


@dataclass(frozen=True)
class Update:
    """A part of what training changed, which is switched as one.

    Attributes:
        circuits: The circuits.
        rest: Whether everything outside the circuits belongs to it too.
    """

    circuits: Sequence[Circuit] = ()
    rest: bool = False


@dataclass(frozen=True)
class Switched:
    """Effects on log-probabilities, in nats.

    Attributes:
        on: Log-probability under the base with an update minus that without, `[problem, update, target]`.
        off: Log-probability under the student without an update minus that with, of the same shape.
    """

    on: Array
    off: Array


def gold_log_p(model: InMemory, vocabulary: int, sequences: Sequence[ProblemSequence]) -> Array:
    """Log-probability of the gold solutions and of the gold values, `[problem, target]`, in nats.

    Args:
        model: The model.
        vocabulary: The number of its token ids.
        sequences: What it reads.
    """
    with torch.inference_mode(), without_lm_head(model.model, vocabulary) as matrix:
        found = [score(model.model, matrix, vocabulary, sequence)[0] for sequence in sequences]
    return torch.stack(found).cpu().numpy()


def switched_effects(
    division: Division, updates: Sequence[Update], sequences: Sequence[ProblemSequence], *, bar: Progress
) -> Switched:
    """Switches updates one at a time, and reads all sequences with both models.

    An update that training left empty has an effect of exactly zero, and is not run; equal updates are run once.

    Args:
        division: The base, the student, and what training changed. Both are as before afterwards, bit by bit.
        updates: What to switch.
        sequences: What the two models read.
        bar: Advanced by one per update and sequence.
    """
    different = {(frozenset(update.circuits), update.rest): update for update in updates}
    found = {key: np.zeros((2, len(sequences), len(TARGETS))) for key in different}
    inside = {key: each for key, each in different.items() if not each.rest and pieces_of(division, each)}
    found |= dict(zip(inside, _inside(division, list(inside.values()), sequences, bar=bar), strict=True))
    with_rest = {key: each for key, each in different.items() if each.rest}
    models = (division.base, division.student)
    # New tokens come with the embeddings and the output layer, which are part of the rest.
    sizes = [len(each.tokenizer) for each in models]
    clean = _log_p(models, sizes, sequences) if with_rest else 0.0
    for key, update in with_rest.items():
        with exchanged(models[0].model, models[1].model, pieces_of(division, update)):
            found[key] = _log_p(models, sizes[::-1], sequences) - clean
        bar.advance(len(sequences))
    # Empty updates, and repeated ones.
    bar.advance(len(sequences) * (len(updates) - len(inside) - len(with_rest)))
    effects = np.zeros((2, len(sequences), len(updates), len(TARGETS)))
    for index, update in enumerate(updates):
        effects[:, :, index] = found[frozenset(update.circuits), update.rest]
    return Switched(*effects)


def _inside(
    division: Division, updates: Sequence[Update], sequences: Sequence[ProblemSequence], *, bar: Progress
) -> Array:
    """Effects of updates of layers, `[update, on and off, problem, target]`.

    Layers below an update compute what they compute without it, and are skipped if the architecture allows it.
    """
    effects = np.zeros((len(updates), 2, len(sequences), len(TARGETS)))
    if not updates:
        return effects
    models = (division.base, division.student)
    with torch.inference_mode(), ExitStack() as stack:
        readings = [stack.enter_context(reader(each)) for each in models]
        skips = False
        for index, sequence in enumerate(sequences):
            runs = [clean_run(reading, sequence) for reading in readings]
            if index == 0:
                skips = all(_can_skip(reading, run, sequence) for reading, run in zip(readings, runs, strict=True))
            for row, update in enumerate(updates):
                lowest = min(circuit.layer for circuit in update.circuits) if skips else 0
                with exchanged(models[0].model, models[1].model, pieces_of(division, update)):
                    for way, (reading, run) in enumerate(zip(readings, runs, strict=True)):
                        with started_at(reading, run, lowest, 1) if lowest else nullcontext():
                            change = reading.score(sequence)[0] - run.log_p
                        effects[row, way, index] = change.cpu().numpy()
                bar.advance(1)
    return effects


def _can_skip(reading: Reader, run: CleanRun, sequence: ProblemSequence) -> bool:
    """Whether a pass that starts in the middle gives what a whole one gives."""
    with started_at(reading, run, len(reading.anatomy) // 2, 1):
        return bool((reading.score(sequence)[0] - run.log_p).abs().max() <= _SAME)


def _log_p(models: Sequence[InMemory], sizes: Sequence[int], sequences: Sequence[ProblemSequence]) -> Array:
    """Of both models with vocabularies of these sizes, `[model, problem, target]`."""
    return np.stack([gold_log_p(each, size, sequences) for each, size in zip(models, sizes, strict=True)])


def pieces_of(division: Division, update: Update) -> list[Piece]:
    """The pieces of weights that an update consists of."""
    pieces = [piece for circuit in update.circuits for piece in division.circuits[circuit]]
    return [*pieces, *(division.rest if update.rest else ())]


def everything(division: Division) -> Update:
    """All that training changed."""
    return Update(division.changed, rest=division.has_rest)


def refuse_incomplete(on: Array, gain: Array, student: str) -> float:
    """Checks that the base with everything switched on is the student.

    Args:
        on: The effect of switching everything on, `[problem, target]`, in nats.
        gain: Log-probability under the student minus that under the base, `[problem, target]`.
        student: The student's name.

    Returns:
        The largest difference, in nats.

    Raises:
        KdprobeError: It is larger than the tolerance.
    """
    error = float(np.abs(on - gain).max())
    if not error <= TOLERANCE:
        raise KdprobeError(
            f"Even with every weight replaced by that of the student {student!r}, the base does not reproduce the "
            f"student's log-probabilities (they differ by {error:.2g} nats; at most {TOLERANCE:g} is allowed).",
            "The student and its base differ in more than their weights, for example in their configurations, so the "
            "gain cannot be divided among weights; leave this student out.",
        )
    return error
