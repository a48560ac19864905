"""What analyses of students' predictions read and write: distributions over the vocabulary, and how they differ."""

from __future__ import annotations

import math

from kdprobe.experiment.costs.sweeps import reading, scored
from kdprobe.experiment.costs.work import KL, LOG, Subject, Work
from kdprobe.probing.drift.prompts import NEUTRAL

_WORDS = 0.75
"""Words per token of English text."""
_JS = 38
"""Vectors as long as the vocabulary that are read or written for a Jensen-Shannon divergence of two distributions."""


def confidence(of: Subject) -> Work:
    """Every student reads its own answers to all problems; every token of an answer goes through the output matrix."""
    texts = len(of.arms) * of.problems
    length = of.prompt + of.answer
    passes = len(of.arms) * math.ceil(of.problems / of.batch)
    rows, merged = texts * of.answer, len(of.trained)
    return Work(texts * length, passes, rows, merged=merged, length=length, batch=of.batch, fixed=of.copies)


def drift(of: Subject) -> Work:
    """All models sample after all prompts; texts of the untrained model are read by it once, and by every student.

    Every student also reads its own texts, and so does the untrained model. Both models' distributions are computed at
    every token that is compared. Neutral prompts are taken to be as long as problems.
    """
    prompts = of.problems + len(of.options["neutral"] or NEUTRAL)
    texts, new = prompts * of.options["samples"], min(of.options["max_new_tokens"], of.answer)
    students, length = len(of.trained), of.prompt + new
    return Work(
        read=(1 + 3 * students) * texts * length,
        passes=(1 + 3 * students) * math.ceil(texts / of.batch),
        rows=4 * students * texts * new,
        vectors=2 * students * texts * new * (2 * LOG + KL),
        answers=(1 + students) * texts,
        new=new,
        prompt=of.prompt,
        merged=students,
        length=length,
        batch=of.options["batch_size"],
        fixed=of.copies,
    )


def output_divergence(of: Subject) -> Work:
    """The untrained model reads every problem once, and so does every student; both distributions at every token.

    With `pairs`, all but the last student are also compared with each of the later ones.
    """
    students, texts = len(of.trained), of.problems
    compared, references = students, 1
    if of.options.get("pairs"):
        compared, references = compared + students * (students - 1) // 2, students
    read = (references + compared) * texts
    states = texts * of.length * of.sizes.hidden * of.width
    rows = compared * texts * of.length
    return Work(
        read * of.length,
        read,
        2 * rows,
        rows * (2 * LOG + KL + _JS),
        merged=references - 1 + compared,
        length=of.length,
        fixed=of.copies + states,
    )


def logit_lens(of: Subject) -> Work:
    """Untrained model and students read; each token of a solution goes through the output matrix after every layer."""
    students = 1 + len(of.trained)
    once = reading(of, of.used, rows=of.solution * (of.sizes.layers + 1))
    compared = of.used * of.solution * (LOG + of.sizes.layers * (LOG + KL))
    return (once + Work(vectors=compared)).times(students) + Work(merged=len(of.trained), fixed=of.copies)


def attribution(of: Subject) -> Work:
    """Every student reads every problem, with logits at its solution."""
    return scored(of).times(len(of.chosen)) + Work(merged=len(of.trained), fixed=of.copies)


def shapley(of: Subject) -> Work:
    """For each student, problem and order: a pass for no word, and one more for every word that joins."""
    texts = len(of.chosen) * of.used * of.options["orders"] * (1 + of.prompt * _WORDS)
    return Work(
        texts * of.length,
        texts / of.batch,
        texts * of.solution,
        merged=len(of.trained),
        length=of.length,
        batch=of.batch,
        fixed=of.copies,
    )
