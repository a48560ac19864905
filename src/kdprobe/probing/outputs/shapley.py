"""The analysis `shapley`: which words of the question carry the log-probability of the gold answer.

The players of the game are the question's words. The value of a set of words is the log-probability of the gold
solution (or of the gold value's tokens) when all other words are hidden: no token may attend to them, and positions do
not change. Shapley values (Shapley, 1953) divide the contribution of the whole question among its words. captum
estimates them over random orders of the words (Castro et al., 2009, doi 10.1016/j.cor.2008.04.004).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.console import Progress, progress
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.interventions.forward import TARGETS, Reader, reader
from kdprobe.probing.interventions.options import ShapleyOptions
from kdprobe.probing.interventions.sweep import chosen_students
from kdprobe.probing.outputs.word_figures import word_figures
from kdprobe.students.sequence import ProblemSequence


@dataclass(frozen=True)
class Word:
    """A word of a question: its text with attached punctuation, and the positions of its tokens."""

    text: str
    positions: tuple[int, ...]
    number: bool


class ShapleyAnalysis:
    """Shapley values of the question's words, for every student on the same problems."""

    def __init__(self, options: ShapleyOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Examines the first of the context's problems."""
        sequences = context.sequences[: self.options.problems]
        rows: list[dict[str, Any]] = []
        for student in chosen_students(context.students, self.options.students, "shapley"):
            loaded = context.pool.loaded(student)
            questions = [words(loaded.tokenizer, sequence) for sequence in sequences]
            # Every order starts with all words hidden.
            total = sum(len(question) + 1 for question in questions) * self.options.orders
            with progress(f"Shapley values of {student.name}", total, unit="tok") as bar, reader(loaded) as reading:
                for sequence, question in zip(sequences, questions, strict=True):
                    samples = word_samples(
                        *(reading, sequence, question, self.options),
                        batch_size=context.batch_size,
                        seed=context.seed,
                        bar=bar,
                    )
                    rows += _rows(student.name, sequence.id, question, samples)
        table = pd.DataFrame(rows)
        return AnalysisResult(
            tables={"shapley": table},
            figures=word_figures(table),
            statements=list(_statements(table, self.options.target)),
        )


def build(options: ShapleyOptions) -> ShapleyAnalysis:
    """Returns the analysis."""
    return ShapleyAnalysis(options)


def words(tokenizer: Any, sequence: ProblemSequence) -> list[Word]:
    """The question's words in order, split at white space."""
    numbers = set(sequence.numbers)
    question: list[Word] = []
    text = ""
    for index, position in enumerate(sequence.question):
        # Decoded from the beginning, because a single token does not show whether a space precedes it.
        longer = tokenizer.decode([sequence.ids[earlier] for earlier in sequence.question[: index + 1]])
        piece, text = longer[len(text) :], longer
        if question and not piece[:1].isspace():
            last = question[-1]
            question[-1] = Word(last.text + piece, (*last.positions, position), last.number or position in numbers)
        else:
            question.append(Word(piece.strip(), (position,), position in numbers))
    return question


def word_samples(
    reading: Reader,
    sequence: ProblemSequence,
    question: list[Word],
    options: ShapleyOptions,
    *,
    batch_size: int,
    seed: int,
    bar: Progress,
) -> NDArray[np.float64]:
    """Samples how much each word of a question adds to the log-probability of the gold answer, over random orders.

    Args:
        reading: The student.
        sequence: The problem.
        question: The problem's words, from `words`.
        options: The gold tokens to explain, and the number of orders.
        batch_size: Sets of words per batch.
        seed: Seed of the orders.
        bar: Advanced by one per set of words.

    Returns:
        Contributions `[order, word]`, in nats; see `shapley_samples`.
    """
    game = _game(reading, sequence, question, TARGETS.index(options.target), bar)
    return shapley_samples(game, len(question), options.orders, seed=seed, batch_size=batch_size)


def shapley_samples(
    game: Callable[[Tensor], Tensor], players: int, orders: int, *, seed: int, batch_size: int
) -> NDArray[np.float64]:
    """Samples how much each player adds when it joins, over random orders.

    Args:
        game: Maps sets of players `[set, player]`, 1 if present or 0, to the value of each set, `[set]`, float64.
        players: Number of players.
        orders: Number of random orders.
        seed: Seed of the orders.
        batch_size: Sets per call of the game.

    Returns:
        Contributions `[order, player]`. Each row sums to the value of all players minus that of none, and the mean of
        the rows is an unbiased estimate of the Shapley values.
    """
    from captum.attr import ShapleyValueSampling

    method = ShapleyValueSampling(game)
    all_present = torch.ones(1, players, dtype=torch.float64)
    samples = np.empty((orders, players))
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        for row in samples:
            # One order per call, since the error of the estimate follows from single orders.
            values = method.attribute(all_present, baselines=0, n_samples=1, perturbations_per_eval=batch_size)
            row[:] = values[0].numpy()
    return samples


def _game(
    reading: Reader, sequence: ProblemSequence, question: list[Word], target: int, bar: Progress
) -> Callable[[Tensor], Tensor]:
    def value(present: Tensor) -> Tensor:
        mask = torch.ones(len(present), len(sequence.ids_without_end), dtype=torch.long)
        for player, word in enumerate(question):
            mask[:, list(word.positions)] = present[:, player, None].long()
        log_p = reading.score(sequence, copies=len(present), mask=mask)[:, target]
        bar.advance(len(present), work=mask.numel())
        return log_p.cpu()

    return value


def _rows(student: str, problem: str, question: list[Word], samples: NDArray[np.float64]) -> Iterator[dict[str, Any]]:
    means, errors = samples.mean(axis=0), samples.std(axis=0, ddof=1) / len(samples) ** 0.5
    for index, (word, mean, error) in enumerate(zip(question, means, errors, strict=True)):
        yield {
            "student": student,
            "problem": problem,
            "place": index,
            "word": word.text,
            "number": word.number,
            "value": mean,
            "standard_error": error,
        }


def _statements(table: pd.DataFrame, target: str) -> Iterator[str]:
    for student, rows in table.groupby("student", sort=False):
        totals = rows.groupby("problem")["value"].sum()
        numbers = rows["number"]
        carried = rows.loc[numbers, "value"].abs().sum() / rows["value"].abs().sum()
        over = f", on average over {len(totals)} problems" if len(totals) > 1 else ""
        yield (
            f"{student}: the question's words add {totals.mean():+.2f} nats to log p(gold {target}){over}; numbers, "
            f"{numbers.mean():.0%} of the words, account for {carried:.0%} of the total absolute contribution."
        )
