"""The continuous endpoint: log p(gold value | question, gold reasoning up to it).

Accuracy of small students sits near the floor; this moves before it does. Only the value's own tokens are scored, so a
student is not rewarded for writing in the style of the gold solutions. They are scored where the reasoning works the
value out, not after `####`: there it was just stated, and copying it is no arithmetic.

As a detail, the same forward pass gives the log-probability of the whole gold solution. It measures how much a student
writes like the gold solutions, which training on them teaches first: never rank a fine-tuned arm by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from kdprobe.console import progress
from kdprobe.distill.head import CHUNK_BYTES, without_head
from kdprobe.errors import KdprobeError
from kdprobe.evaluation.ledger import Ledger
from kdprobe.models.batching import right_padded
from kdprobe.models.conversation import prompt_ids
from kdprobe.models.load import LoadedModel
from kdprobe.problems.answers import gold_value
from kdprobe.problems.problem import GOLD_MARK, Problem
from kdprobe.strategies.prompt_pair import bare

_NUMBER = re.compile(r"\d{1,40}(?:,\d{3}){0,12}(?:\.\d{1,40})?")
_AFTER_EQUALS = re.compile(r"=\s{0,3}[-\u2212]?\s?[$€£]?\Z")


@dataclass(frozen=True)
class GoldLogP:
    """What a student makes of one gold solution, its calculator marks stripped; in nats.

    Attributes:
        value: Log-probability of the gold value's tokens, where the reasoning works it out: the endpoint.
        solution: Log-probability of all tokens of the solution, its last line `#### value` included, the end of turn
            not. A measure of style.
        tokens: How many these are.
    """

    value: float
    solution: float
    tokens: int


@dataclass(frozen=True)
class GoldSequence:
    """A bare question and its gold solution as token ids, calculator marks and end of turn left out.

    Attributes:
        ids: The prompt, then the solution.
        begin: Where the solution begins.
        value: Places of the gold value's tokens, where the reasoning works it out.
    """

    ids: list[int]
    begin: int
    value: list[int]


def gold_log_probabilities(
    student: LoadedModel,
    problems: Sequence[Problem],
    *,
    batch_size: int,
    label: str,
    ledger: Ledger | None = None,
) -> list[GoldLogP]:
    """Reads the gold solutions once, after their bare questions.

    Logits exist for a chunk of rows at a time, unless the model does more to them than multiply; then sequences are
    read one by one.

    Args:
        student: The merged student.
        problems: In the order of the result.
        batch_size: Sequences at once.
        label: How progress calls this student.
        ledger: Where each batch is kept as it comes; those that are there are not read again.

    Returns:
        One for each problem.
    """
    ledger = Ledger(None) if ledger is None else ledger
    sequences = [gold_sequence(student.tokenizer, problem) for problem in problems]
    order = sorted(range(len(problems)), key=lambda place: -len(sequences[place].ids))
    with (
        progress(label, len(problems), unit="tok") as bar,
        torch.inference_mode(),
        without_head(student.model, len(student.tokenizer)) as matrix,
    ):
        step = batch_size if matrix is not None else 1
        for start in range(0, len(order), step):
            batch = order[start : start + step]
            if problems[batch[0]].id in ledger:
                bar.skip(len(batch))
                continue
            read = [sequences[place] for place in batch]
            ids, mask = right_padded([one.ids for one in read], student.tokenizer.pad_token_id, student.device)
            # Row t - 1 predicts token t; rows before the shortest question's end predict nothing that is wanted.
            first = min(one.begin for one in read) - 1
            keep = torch.arange(first, ids.shape[1] - 1, device=student.device)
            rows = student.model(input_ids=ids, attention_mask=mask, logits_to_keep=keep, use_cache=False).logits
            results: dict[str, GoldLogP] = {}
            for row, place in enumerate(batch):
                one = sequences[place]
                targets = ids[row, one.begin : len(one.ids)]
                mine = rows[row, one.begin - 1 - first : len(one.ids) - 1 - first]
                log_p = log_probabilities(mine, targets, matrix, len(student.tokenizer))
                value = sum(float(log_p[token - one.begin]) for token in one.value)
                results[problems[place].id] = GoldLogP(value, float(log_p.sum()), len(log_p))
            ledger.add({id_: asdict(result) for id_, result in results.items()})
            bar.advance(len(batch), work=int(mask.sum()))
    return [GoldLogP(**ledger[problem.id]) for problem in problems]


def log_probabilities(rows: Tensor, targets: Tensor, matrix: Tensor | None, vocabulary: int) -> Tensor:
    """Log-probability of each target, `[rows]`, float64.

    Args:
        rows: Hidden states `[rows, d]`, or where there is no matrix logits `[rows, V]`.
        targets: Token ids, `[rows]`.
        matrix: The output matrix, `[V, d]`.
        vocabulary: How many real token ids there are.
    """
    found, start = [], 0
    for logits in logits_in_chunks(rows, matrix, vocabulary):
        some = targets[start : start + len(logits)]
        # log_softmax adds up V terms one after the other in float32, off by 5e-6 nats for 49,152 and always to one
        # side; logsumexp adds them up pairwise.
        chosen = logits.gather(1, some[:, None])[:, 0]
        found.append(chosen.double() - logits.logsumexp(dim=-1).double())
        start += len(logits)
    return torch.cat(found)


def logits_in_chunks(rows: Tensor, matrix: Tensor | None, vocabulary: int) -> Iterator[Tensor]:
    """Logits of some rows at a time, `[rows, V]`, float32; arguments as those of `log_probabilities`."""
    chunk = max(1, CHUNK_BYTES // (4 * vocabulary))
    for start in range(0, len(rows), chunk):
        some = rows[start : start + chunk]
        yield (some[:, :vocabulary] if matrix is None else some @ matrix.T).float()


def value_span(solution: str, value: str) -> tuple[int, int]:
    """Where a gold solution works its value out.

    Args:
        solution: The reasoning, `####` and the value; without calculator marks.
        value: The gold value.

    Returns:
        Start and end of the value's digits: at its last statement after an equals sign, else its last statement in
        the reasoning, else after `####`.
    """
    mark = solution.rindex(GOLD_MARK)
    gold = gold_value(value)
    stated = [
        number
        for number in _NUMBER.finditer(solution, 0, mark)
        if gold is not None and Fraction(number[0].replace(",", "")) == abs(gold)
    ]
    results = [
        number for number in stated if _AFTER_EQUALS.search(solution, max(0, number.start() - 8), number.start())
    ]
    if stated:
        return (results or stated)[-1].span()
    start = solution.index(value, mark + len(GOLD_MARK))
    return start, start + len(value)


def gold_sequence(tokenizer: Any, problem: Problem) -> GoldSequence:
    """What a student reads of a problem when its gold solution is put into its mouth.

    Raises:
        KdprobeError: No token belongs to the gold value.
    """
    prompt = prompt_ids(tokenizer, bare(problem))
    lead = "" if tokenizer.chat_template else " "
    begin, end = (len(lead) + place for place in value_span(problem.plain_solution, problem.value))
    encoded = tokenizer(lead + problem.plain_solution, add_special_tokens=False, return_offsets_mapping=True)
    tokens = [place for place, (first, last) in enumerate(encoded["offset_mapping"]) if first < end and last > begin]
    if not tokens:
        raise KdprobeError(f"The gold value of problem {problem.id!r} has no tokens of its own.")
    return GoldSequence([*prompt, *encoded["input_ids"]], len(prompt), [len(prompt) + place for place in tokens])
