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

import torch

from kdprobe.console import progress
from kdprobe.evaluation.ledger import Ledger
from kdprobe.models.batching import right_padded
from kdprobe.models.lm_head import log_probabilities, without_lm_head
from kdprobe.models.load import LoadedModel
from kdprobe.problems.problem import Problem
from kdprobe.students.sequence import problem_sequence


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


def gold_log_probabilities(
    student: LoadedModel,
    problems: Sequence[Problem],
    *,
    batch_size: int,
    label: str,
    ledger: Ledger | None = None,
) -> list[GoldLogP]:
    """Scores the gold solutions under teacher forcing, given their bare questions.

    Logits are computed for a chunk of rows at a time, unless the model's head is more than a matrix product; then
    sequences are read one at a time.

    Args:
        student: The merged student.
        problems: The problems, in the order of the result.
        batch_size: Number of sequences in a batch.
        label: The label of the progress bar.
        ledger: The ledger in which each finished batch is saved; batches already in it are skipped.

    Returns:
        The log-probabilities for each problem.

    Raises:
        NonFiniteError: The student gives a gold solution a log-probability that is NaN or infinite.
    """
    ledger = Ledger(None) if ledger is None else ledger
    sequences = [problem_sequence(student.tokenizer, problem) for problem in problems]
    order = sorted(range(len(problems)), key=lambda index: -len(sequences[index].ids))
    with (
        progress(label, len(problems), unit="tok") as bar,
        torch.inference_mode(),
        without_lm_head(student.model, len(student.tokenizer)) as matrix,
    ):
        step = batch_size if matrix is not None else 1
        for start in range(0, len(order), step):
            batch = [sequences[index] for index in order[start : start + step]]
            if batch[0].id in ledger:
                bar.skip(len(batch))
                continue
            ids, mask = right_padded(
                [sequence.ids_without_end for sequence in batch], student.tokenizer.pad_token_id, student.device
            )
            # Row t - 1 predicts token t; rows before the end of the shortest question are not needed.
            first = min(sequence.begin for sequence in batch) - 1
            keep = torch.arange(first, ids.shape[1] - 1, device=student.device)
            rows = student.model(input_ids=ids, attention_mask=mask, logits_to_keep=keep, use_cache=False).logits
            results: dict[str, GoldLogP] = {}
            for row, sequence in enumerate(batch):
                end = len(sequence.ids_without_end)
                targets = ids[row, sequence.begin : end]
                predicting = rows[row, sequence.begin - 1 - first : end - 1 - first]
                log_p = log_probabilities(
                    predicting,
                    targets,
                    matrix,
                    len(student.tokenizer),
                    subject=f"the gold solution of problem {sequence.id!r}",
                )
                value = sum(float(log_p[position - sequence.begin]) for position in sequence.value)
                results[sequence.id] = GoldLogP(value, float(log_p.sum()), len(log_p))
            ledger.add({id_: asdict(result) for id_, result in results.items()})
            bar.advance(len(batch), work=int(mask.sum()))
    return [GoldLogP(**ledger[problem.id]) for problem in problems]
