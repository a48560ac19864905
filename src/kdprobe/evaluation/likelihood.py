"""The continuous endpoint: log p(gold value | question, gold reasoning).

Accuracy of small students sits near the floor; this moves before it does. Only the value's own tokens are scored, so a
student is not rewarded for writing in the style of the gold solutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.models.batching import right_padded
from kdprobe.models.conversation import prompt_ids
from kdprobe.models.load import LoadedModel
from kdprobe.problems.problem import GOLD_MARK, Problem
from kdprobe.strategies.prompt_pair import bare


def log_p_gold_value(student: LoadedModel, problems: Sequence[Problem], *, batch_size: int, label: str) -> list[float]:
    """Log-probability of the gold value's tokens after the gold reasoning, calculator marks stripped.

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


def _sequence(student: LoadedModel, problem: Problem) -> tuple[list[int], list[int]]:
    """Token ids of question and gold solution, and the positions of the value's tokens."""
    prompt = prompt_ids(student.tokenizer, bare(problem))
    solution = problem.plain_solution
    lead = "" if student.tokenizer.chat_template else " "
    encoded = student.tokenizer(lead + solution, add_special_tokens=False, return_offsets_mapping=True)
    begin = len(lead) + solution.rindex(GOLD_MARK) + len(GOLD_MARK)
    value_begin = begin + (lead + solution)[begin:].index(problem.value)
    value_end = value_begin + len(problem.value)
    tokens = [
        len(prompt) + place
        for place, (start, end) in enumerate(encoded["offset_mapping"])
        if start < value_end and end > value_begin
    ]
    if not tokens:
        raise KdprobeError(f"The gold value of problem {problem.id!r} has no tokens of its own.")
    return [*prompt, *encoded["input_ids"]], tokens
