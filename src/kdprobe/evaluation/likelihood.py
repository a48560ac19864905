"""The continuous endpoint: log p(gold value | question, gold reasoning up to it).

The accuracy of small students is near the floor; this measure moves before accuracy does. Only the value's own tokens
are scored, so a student is not rewarded for writing in the style of the gold solutions. They are scored where the
reasoning derives the value, not after `####`, where the value is only copied from the line before.

The same forward pass also gives the log-probability of the whole gold solution. It measures how closely a student
writes like the gold solutions, which is the first thing that training on them teaches: never rank a fine-tuned arm by
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.evaluation.engines.builtin import as_engine_student
from kdprobe.evaluation.engines.engine import EngineStudent
from kdprobe.evaluation.engines.scores import scores
from kdprobe.evaluation.ledger import Ledger
from kdprobe.models.batching import batches
from kdprobe.models.load import LoadedModel
from kdprobe.models.outline.room import exceeding
from kdprobe.problems.problem import Problem
from kdprobe.students.sequence import ProblemSequence, problem_sequence
from kdprobe.teachers.teacher import Passage
from kdprobe.words import these


@dataclass(frozen=True)
class GoldLogP:
    """A student's log-probabilities of one gold solution, without calculator annotations, in nats.

    Attributes:
        value: Log-probability of the gold value's tokens at the point where the reasoning derives it: the endpoint.
        solution: Log-probability of all tokens of the solution, including its last line `#### value` but not the end
            of turn. A measure of style.
        tokens: Number of these tokens.
    """

    value: float
    solution: float
    tokens: int


def gold_sequences(student: LoadedModel | EngineStudent, problems: Sequence[Problem]) -> list[ProblemSequence]:
    """The problems with their gold solutions, as a student reads them.

    Raises:
        KdprobeError: One does not fit into the student's context window, or has a gold value without tokens.
    """
    reader = as_engine_student(student)
    sequences = [problem_sequence(reader.tokenizer, problem) for problem in problems]
    lengths = {sequence.id: len(sequence.ids_without_end) for sequence in sequences}
    window = reader.context_length
    if window and (long := {id_: length for id_, length in lengths.items() if length > window}):
        raise KdprobeError(
            f"The context window of {reader.record.name!r} is {window} tokens; {exceeding('problem', long)}.",
            f"Remove {these(len(long), 'problem')}.",
        )
    return sequences


def gold_log_probabilities(
    student: LoadedModel | EngineStudent,
    sequences: Sequence[ProblemSequence],
    *,
    batch_size: int,
    label: str,
    ledger: Ledger | None = None,
) -> list[GoldLogP]:
    """Scores the gold solutions under teacher forcing, given their bare questions.

    Args:
        student: The student: as an engine loaded it, or a merged model.
        sequences: The problems, as from `gold_sequences`, in the order of the result.
        batch_size: Number of sequences in a batch.
        label: The label of the progress bar.
        ledger: The ledger in which each finished batch is saved; batches already in it are skipped.

    Returns:
        The log-probabilities for each problem.

    Raises:
        NonFiniteError: The student gives a gold solution a log-probability that is NaN or infinite.
    """
    ledger = Ledger(None) if ledger is None else ledger
    reader = as_engine_student(student)
    with progress(label, len(sequences), unit="tok") as bar:
        for indices in batches([len(sequence.ids) for sequence in sequences], batch_size):
            batch = [sequences[index] for index in indices]
            if all(sequence.id in ledger for sequence in batch):
                bar.skip(len(batch))
                continue
            passages = [Passage(sequence.id, [*sequence.prompt], [*sequence.solution]) for sequence in batch]
            results: dict[str, GoldLogP] = {}
            for sequence, scored in zip(batch, scores(reader, passages), strict=True):
                value = sum(scored.log_p[position - sequence.begin] for position in sequence.value)
                results[sequence.id] = GoldLogP(value, sum(scored.log_p), len(scored.log_p))
            ledger.add({id_: asdict(result) for id_, result in results.items()})
            bar.advance(len(batch), work=sum(len(sequence.ids_without_end) for sequence in batch))
    return [GoldLogP(**ledger[sequence.id]) for sequence in sequences]
