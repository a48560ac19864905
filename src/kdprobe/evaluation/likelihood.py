"""The continuous endpoint: log p(gold value | question, gold reasoning up to it).

Accuracy of small students sits near the floor; this moves before it does. Only the value's own tokens are scored, so a
student is not rewarded for writing in the style of the gold solutions. They are scored where the reasoning works the
value out, not after `####`: there it was just stated, and copying it is no arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

import torch

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.models.batching import right_padded
from kdprobe.models.conversation import prompt_ids
from kdprobe.models.load import LoadedModel
from kdprobe.problems.answers import gold_value
from kdprobe.problems.problem import GOLD_MARK, Problem
from kdprobe.strategies.prompt_pair import bare

_NUMBER = re.compile(r"\d{1,40}(?:,\d{3}){0,12}(?:\.\d{1,40})?")
_AFTER_EQUALS = re.compile(r"=\s{0,3}[-\u2212]?\s?[$€£]?\Z")


def log_p_gold_value(student: LoadedModel, problems: Sequence[Problem], *, batch_size: int, label: str) -> list[float]:
    """Log-probability of the gold value's tokens after the gold reasoning up to them, calculator marks stripped.

    Args:
        student: The merged student.
        problems: In the order of the result.
        batch_size: Sequences at once.
        label: How progress calls this student.

    Returns:
        Nats, one number per problem: the sum over the value's tokens.
    """
    sequences = [_sequence(student, problem) for problem in problems]
    order = sorted(range(len(problems)), key=lambda place: -len(sequences[place][0]))
    results = [0.0] * len(problems)
    with progress(label, len(problems), unit="tok") as bar, torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            ids, mask = right_padded(
                [sequences[place][0] for place in batch], student.tokenizer.pad_token_id, student.device
            )
            # Row t - 1 predicts token t. The head runs only on rows that predict a value's token.
            wanted = sorted({token - 1 for place in batch for token in sequences[place][1]})
            keep = torch.tensor(wanted, device=student.device)
            logits = student.model(input_ids=ids, attention_mask=mask, logits_to_keep=keep, use_cache=False).logits[
                :, :, : len(student.tokenizer)
            ]
            column = {position: index for index, position in enumerate(wanted)}
            for row, place in enumerate(batch):
                tokens = sequences[place][1]
                rows = logits[row, [column[token - 1] for token in tokens]].float().log_softmax(-1)
                targets = ids[row, tokens]
                results[place] = float(rows.gather(1, targets[:, None]).sum())
            bar.advance(len(batch), work=int(mask.sum()))
    return results


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


def _sequence(student: LoadedModel, problem: Problem) -> tuple[list[int], list[int]]:
    """Token ids of question and gold solution up to its value, and the positions of the value's tokens."""
    prompt = prompt_ids(student.tokenizer, bare(problem))
    lead = "" if student.tokenizer.chat_template else " "
    begin, end = (len(lead) + place for place in value_span(problem.plain_solution, problem.value))
    encoded = student.tokenizer(lead + problem.plain_solution, add_special_tokens=False, return_offsets_mapping=True)
    tokens = [place for place, (first, last) in enumerate(encoded["offset_mapping"]) if first < end and last > begin]
    if not tokens:
        raise KdprobeError(f"The gold value of problem {problem.id!r} has no tokens of its own.")
    read = encoded["input_ids"][: tokens[-1] + 1]
    return [*prompt, *read], [len(prompt) + place for place in tokens]
