"""What priming changes in the teacher's log-probability of gold solutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.console import progress
from kdprobe.models.conversation import prompt_ids
from kdprobe.probing.outputs.differences.reading import Reading
from kdprobe.probing.priming.reading import log_probabilities
from kdprobe.probing.priming.teaching import Priming
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import bare
from kdprobe.students.sequence import ProblemSequence, problem_sequence

Measure = Literal["value", "solution"]
MEASURES: tuple[Measure, ...] = ("value", "solution")
"""Log-probability of the gold value where the solution derives it, and of the whole solution."""
Array = NDArray[np.float64]
GoldLogP = Mapping[Measure, Array]
"""By measure, of each problem, `[problem]`, in nats."""


@dataclass(frozen=True)
class TeacherLogP:
    """The teacher's log-probabilities of the gold solutions.

    Attributes:
        bare: After the bare questions.
        primed: After each strategy's prompts.
    """

    bare: GoldLogP
    primed: Mapping[str, GoldLogP]

    def change(self, strategy: str, measure: Measure) -> Array:
        """What priming changes: primed minus bare, `[problem]`."""
        return self.primed[strategy][measure] - self.bare[measure]


def teacher_log_p(teacher: Reading, problems: Sequence[Problem], primings: Sequence[Priming]) -> TeacherLogP:
    """Reads every gold solution after the bare question and after every strategy's prompt, as the same token ids.

    Raises:
        UsageError: A prompt with its solution does not fit into the teacher's context.
        KdprobeError: A gold value has no tokens of its own.
        NonFiniteError: A log-probability is NaN or infinite.
    """
    tokenizer = teacher.loaded.tokenizer
    sequences = [problem_sequence(tokenizer, problem) for problem in problems]
    known: dict[str, list[tuple[float, float]]] = {"": [], **{priming.strategy: [] for priming in primings}}
    with progress("Teacher's log p(gold)", len(problems), unit="tok") as bar:
        for problem, sequence in zip(problems, sequences, strict=True):
            # Text that the template writes before an answer follows each prompt.
            lead = sequence.prompt[len(prompt_ids(tokenizer, bare(problem))) :]
            read = {sequence.prompt: _log_p(teacher, sequence.prompt, sequence)}
            known[""].append(read[sequence.prompt])
            for priming in primings:
                prompt = (*prompt_ids(tokenizer, priming.tests[problem.id].teacher), *lead)
                if prompt not in read:
                    read[prompt] = _log_p(teacher, prompt, sequence)
                known[priming.strategy].append(read[prompt])
            bar.advance(1, work=len(read) * len(sequence.solution))
    arrays = {name: _by_measure(found) for name, found in known.items()}
    return TeacherLogP(arrays.pop(""), arrays)


def _log_p(teacher: Reading, prompt: Sequence[int], sequence: ProblemSequence) -> tuple[float, float]:
    """Log-probabilities of the gold value and of the solution."""
    log_p = log_probabilities(teacher, prompt, sequence.solution)
    return float(log_p[[position - sequence.begin for position in sequence.value]].sum()), float(log_p.sum())


def _by_measure(found: Sequence[tuple[float, float]]) -> GoldLogP:
    values, solutions = np.array(found).T
    return {"value": values, "solution": solutions}
