"""Accuracy of a student without some of its heads, measured by lm-eval.

Zeroing a head's columns of the output projection is the same as zeroing its z, also during generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from kdprobe.evaluation.lm_eval_run import evaluate
from kdprobe.evaluation.protocol import Protocol
from kdprobe.models.anatomy import anatomy
from kdprobe.models.load import LoadedModel
from kdprobe.models.weights import own_weights, same_weights
from kdprobe.probing.interventions.joint_effects import random_sets
from kdprobe.probing.interventions.options import AblationOptions
from kdprobe.probing.interventions.sweep import Sweep, load_in_full
from kdprobe.probing.labels import Head
from kdprobe.problems.problem import Problem
from kdprobe.stats.intervals import accuracy_interval
from kdprobe.stats.mcnemar import paired_test
from kdprobe.stats.p_values import p_text
from kdprobe.students.pool import StudentPool
from kdprobe.students.student import Student
from kdprobe.words import counted


def accuracy_without_heads(
    students: Sequence[Student],
    problems: Sequence[Problem],
    options: AblationOptions,
    sweeps: Mapping[str, Sweep],
    pool: StudentPool,
    *,
    batch_size: int,
    seed: int,
) -> pd.DataFrame:
    """Evaluates every student intact, without its top heads, and without as many random heads.

    Args:
        students: The students that were ablated.
        problems: The problems they are evaluated on.
        options: The token budget, and whether random heads come from the same layers.
        sweeps: Each student's ablation results.
        pool: Where students are loaded.
        batch_size: Of the evaluation.
        seed: Of the random heads.

    Returns:
        One row per student and set: `student`, `set`, `heads`, `n`, `correct`, `accuracy`, `low`, `high`, and, paired
        with the intact student, `only_whole`, `only_without`, `p` (exact McNemar).
    """
    protocol = Protocol(options.max_new_tokens, batch_size=batch_size, dtype="float32")
    rows = []
    for student in students:
        sweep = sweeps[student.name]
        shape = sweep.screened.shape[1:3]
        drawn = random_sets(sweep.sets["top"], shape, 1, same_layers=options.same_layers, seed=seed)[0]
        whole: list[bool] = []
        loaded = load_in_full(pool, student)
        for kind, heads, how in (
            ("none", [], "with all heads"),
            ("top", sweep.sets["top"], "without its top heads"),
            ("random", drawn, "without random heads"),
        ):
            reduced = without_heads(loaded, heads)
            records = evaluate(reduced, problems, protocol, label=f"lm-eval: {student.name} {how}")
            correct = [record["correct"] for record in records]
            whole = whole or correct
            paired = paired_test(whole, correct)
            interval = accuracy_interval(sum(correct), len(correct))
            row = (student.name, kind, len(heads), len(correct), sum(correct), np.mean(correct))
            rows.append((*row, interval.low, interval.high, paired.only_a, paired.only_b, paired.p))
    columns = ["student", "set", "heads", "n", "correct", "accuracy", "low", "high", "only_whole", "only_without", "p"]
    return pd.DataFrame(rows, columns=columns)


def without_heads(student: LoadedModel, heads: Sequence[Head]) -> LoadedModel:
    """The student with these heads' columns of W_O zeroed; it shares all other weights with the original."""
    model = same_weights(student.model)
    parts = anatomy(model)
    for layer in {layer for layer, _ in heads}:
        own_weights(parts.outputs[layer])
    with torch.no_grad():
        for layer, head in heads:
            parts.output_matrix(layer)[head].zero_()
    return replace(student, model=model)


def accuracy_sentences(table: pd.DataFrame) -> list[str]:
    """What is lost without the top heads, and without random ones."""
    sentences = []
    for student, rows in table.groupby("student", sort=False):
        whole, *others = rows.to_dict("records")
        parts = [
            f"without {_heads(row['set'], row['heads'])}, {row['correct']} (p = {p_text(row['p'])})" for row in others
        ]
        solved = f"With all heads, {student} solves {whole['correct']} of {counted(whole['n'], 'problem')}"
        sentences.append(f"{solved}; {'; '.join(parts)}.")
    return sentences


def _heads(kind: str, count: int) -> str:
    if kind == "top":
        return "its top head" if count == 1 else f"its top {count} heads"
    return counted(count, "random head")
