"""The work of the passes that interventions share: clean ones, gradients, and heads replaced alone and in sets."""

from __future__ import annotations

import math

from kdprobe.experiment.costs.work import Subject, Work

_TARGETS = 2
"""Gradients of a text: of log p of the gold solution, and of the gold value."""


def reading(of: Subject, texts: float, *, rows: float) -> Work:
    """Whole texts, one at a time, with this many positions each that go through the output matrix."""
    return Work(texts * of.length, texts, texts * rows, length=of.length)


def scored(of: Subject) -> Work:
    """A student reads all problems, and their solutions go through the output matrix."""
    return reading(of, of.used, rows=of.solution)


def partly(of: Subject, runs: float, share: float) -> Work:
    """Runs over all problems that start in the middle, at this share of the layers."""
    texts = of.used * runs
    return Work(texts * share * of.length, texts * share, texts * of.solution, length=of.length)


def slopes(of: Subject, multiplied: float) -> Work:
    """A student reads all problems with gradients: a forward and two backward passes, for one of each that is counted.

    Args:
        of: What is examined.
        multiplied: Parameters that are multiplied with every gradient, besides the backward pass.
    """
    texts = of.used * (1 + _TARGETS) / 2
    products = of.used * of.length * _TARGETS * multiplied / of.sizes.active
    return Work(
        read=products,
        sloped=texts * of.length,
        sloped_passes=texts,
        sloped_rows=texts * of.solution,
        length=of.length,
        fixed=of.longest * of.sizes.layers * of.sizes.activations(of.width),
    )


def sweep(of: Subject, *, moved: bool) -> Work:
    """All heads by gradient, the top ones exactly, and sets of them (`kdprobe.probing.interventions.sweep`).

    Args:
        of: What is examined.
        moved: Whether heads whose attention changed most are also replaced, exactly and together.
    """
    options, sizes, problems = of.options, of.sizes, of.used
    every = sizes.layers * sizes.heads
    top = every if options["exact"] == "all" else min(options["exact"], every)
    together = min(options["together"], top)
    exact = min(every, top + (together if moved else 0))
    # One clean pass for single heads, and one for sets; heads of a layer share passes.
    layers = min(exact, sizes.layers)
    passes = layers * math.ceil(exact / layers / of.batch)
    alone = of.upper() * problems
    single = Work(alone * exact * of.length, alone * passes, problems * exact * of.solution)
    sets = _sets(of, moved=moved)
    shared = of.upper(together) * sets
    joint = Work(
        (problems + shared) * of.length,
        problems + of.upper(together) * problems * math.ceil((1 + sets / problems) / of.batch),
        (problems + sets) * of.solution,
    )
    # The gradient times the outputs of all heads, own and replaced.
    work = slopes(of, 2 * of.outputs) + scored(of).times(2) + single + joint
    return work + Work(batch=min(of.batch, max(exact, math.ceil(sets / problems))), length=of.length)


def _sets(of: Subject, *, moved: bool) -> int:
    """Sets of all problems together, without that of all heads, which starts at the first layer.

    What is replaced on a fold of the problems is selected on the earlier ones, so the first fold has no top heads, and
    unless other heads are replaced there, nothing to compare random sets with.
    """
    options, problems = of.options, of.used
    folds = min(options["folds"], problems)
    first = math.ceil(problems / folds)
    selected = problems - first if folds > 1 else problems
    compared = problems - first if folds > 1 else 0
    of_moved = problems if moved else 0
    # Random sets from the same layers are a set's own; others serve both.
    random = compared + of_moved if options["same_layers"] else max(compared, of_moved)
    return selected + of_moved + int(options["random_sets"]) * random
