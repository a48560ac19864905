"""The parts of the text that students read; every token belongs to exactly one."""

from __future__ import annotations

from kdprobe.students.sequence import ProblemSequence

TEMPLATE, END = "template", "end_of_turn"
SOLUTION = "solution"
"""All tokens of the gold solution with its end of turn: the last four parts together."""
SOLUTION_PARTS = ("steps", "step_numbers", "final_answer", END)
PARTS = (TEMPLATE, "question", "question_numbers", *SOLUTION_PARTS)
PHRASES = {
    TEMPLATE: "the chat template",
    "question": "the words of the question",
    "question_numbers": "the numbers in the question",
    "steps": "the words of the steps",
    "step_numbers": "the numbers in the steps",
    "final_answer": "the final answer",
    END: "the end-of-turn token",
    SOLUTION: "the gold solutions",
}


def parts_of(sequence: ProblemSequence) -> list[str]:
    """The part of each token, `[position]`.

    The final answer is the last line of the gold solution, `#### value`, and the steps are everything before it.
    """
    parts = [TEMPLATE] * sequence.begin + ["steps"] * len(sequence.solution) + [END] * len(sequence.end)
    for part, positions in (
        ("question", sequence.question),
        ("question_numbers", sequence.numbers),
        ("step_numbers", sequence.step_numbers),
        ("final_answer", sequence.final_answer),
    ):
        for position in positions:
            parts[position] = part
    return parts
