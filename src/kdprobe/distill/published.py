"""The published recipe of response priming (Goyal et al., 2024, arXiv 2412.17846), misalignments included.

It exists for replication, so that people can see what the recipe does; do not imitate it. It differs from a
sound distillation as follows:

1. The teacher's rows are those at the tokens of its *prompt* (priming and question), not of an answer.
2. They are matched by position with the student's rows over the *unprimed* question,
3. and with the tokens of the gold *answer* as labels, without the shift by one; all three are cut to the shortest.
4. They are looked up by number among keys `Question 1`, `Question 2`, ... that were sorted as text (1, 10, 100, ...).
5. SGD at 5e-6 from an adapter that starts at zero hardly changes the weights.

The authors stored all logits on disk; here the teacher reads a prompt again whenever its rows are needed, with the
same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdprobe.distill.distiller import Need, TrainContext, Trained
from kdprobe.distill.examples import Example, Lesson
from kdprobe.distill.options import PublishedOptions
from kdprobe.errors import UsageError
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import Message, PromptPair
from kdprobe.teachers.teacher import (
    LimitedTeacher,
    Passage,
    Sampling,
    ScoringTeacher,
    SparseRows,
    Teacher,
    scoring_teacher,
)


class PublishedDistiller:
    """The paper's recipe as its authors ran it."""

    needs: frozenset[Need] = frozenset({"gold", "teacher"})

    def __init__(self, options: PublishedOptions) -> None:
        self.options = options

    def temperatures(self) -> tuple[float, ...]:
        """The temperature of the loss, which compares with the teacher token by token."""
        return (self.options.temperature,)

    def refuse_teacher(self, teacher: Teacher) -> None:
        """Checks that the teacher's whole distributions over given tokens can be read.

        Raises:
            UsageError: They cannot.
        """
        if not isinstance(teacher, ScoringTeacher) or isinstance(teacher, LimitedTeacher):
            raise UsageError(
                "The distiller 'published' needs the teacher's whole next-token distribution at every position of "
                "the teacher's prompt, which this teacher does not provide.",
                "Use the teacher 'transformers'.",
            )

    def train(self, context: TrainContext) -> Trained:
        """Trains on prompt logits.

        Raises:
            UsageError: As in `refuse_teacher`.
        """
        # Imported here: torch and PEFT take seconds to import, and planning needs neither.
        from kdprobe.distill.objectives import Objective
        from kdprobe.distill.training.launch import load_base
        from kdprobe.distill.training.trainer import train

        assert context.teacher is not None  # noqa: S101 - `needs` says so
        self.refuse_teacher(context.teacher)
        teacher = scoring_teacher(context.teacher)
        student = load_base(context)
        temperature = self.options.temperature
        prompts = PromptRows(teacher, len(student.tokenizer), student.tokenizer.pad_token_id, temperature)
        examples = misaligned(context.problems, context.conversations, student.tokenizer, prompts)
        objective = Objective(self.options.alpha, "reverse-kl", temperature)
        return train(student, examples, objective, self.options, context)


class PromptRows:
    """The teacher's full distribution after each token of a prompt.

    Args:
        teacher: The teacher.
        vocabulary: The number of token ids; all are kept, as published.
        pad: An arbitrary token id placed after the prompt.
        temperature: T.
    """

    def __init__(self, teacher: ScoringTeacher, vocabulary: int, pad: int, temperature: float) -> None:
        self.teacher, self.pad = teacher, pad
        self.sampling = Sampling(1, top_logprobs=vocabulary, temperatures=(1.0, temperature))

    def __call__(self, prompt: list[int], count: int) -> SparseRows:
        """The rows after the first `count` tokens of a prompt."""
        passage = Passage("prompt", prompt[:1], [*prompt[1:], self.pad])
        ((_, rows),) = self.teacher.score([passage], self.sampling)
        return SparseRows(
            ids=rows.ids[:count],
            logprobs=rows.logprobs[:count],
            tail_logmass={t: tail[:count] for t, tail in rows.tail_logmass.items()},
            token_logprobs=rows.token_logprobs[:count],
        )


def misaligned(
    problems: Sequence[Problem],
    conversations: Mapping[str, PromptPair],
    tokenizer: Any,
    prompt_rows: Callable[[list[int], int], SparseRows],
) -> list[Example]:
    """Examples as in the recipe.

    Args:
        problems: The problems, in numerical order.
        conversations: Problem id mapped to the two conversations.
        tokenizer: The tokenizer of student and teacher.
        prompt_rows: `(teacher's prompt, number of rows) -> SparseRows`.
    """
    examples = []
    for index, problem in enumerate(problems):
        other = problems[looked_up_index(index, len(problems))]
        question = _tokens(tokenizer, conversations[problem.id].student)
        answer = tokenizer(problem.plain_solution, add_special_tokens=False)["input_ids"]
        prompt = _tokens(tokenizer, conversations[other.id].teacher)
        count = min(len(question), len(answer), len(prompt))
        # Nothing follows the last token of a prompt, so its row predicts no token.
        followers = [*prompt[1:], -1][:count]

        def rows(prompt: list[int] = prompt, count: int = count) -> SparseRows:
            return prompt_rows(prompt, count)

        lesson = Lesson(other.id, followers, rows)
        examples.append(Example(problem.id, question, list(range(count)), answer[:count], lesson))
    return examples


def looked_up_index(index: int, count: int) -> int:
    """The problem whose logits the recipe finds at an index, because its keys were sorted as text."""
    keys = sorted(f"Question {number}" for number in range(1, count + 1))
    return int(keys[index].removeprefix("Question ")) - 1


def _tokens(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The plain text of a conversation: about 70 published positions per prompt leave no room for a chat template."""
    ids: list[int] = tokenizer("\n\n".join(message["content"] for message in messages))["input_ids"]
    return ids
