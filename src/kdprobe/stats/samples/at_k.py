"""Several sampled answers to each problem: pass@k and maj@k, exactly, from counts.

pass@k is the probability that at least one of k answers is correct, estimated without bias from n >= k answers (Chen et
al., 2021, arXiv 2107.03374). maj@k is the probability that the most frequent value of k answers is correct (Wang et
al., 2023, arXiv 2203.11171), also averaged over all subsets of k of the n answers. If several values are equally
frequent, one of them is drawn, so each counts with an equal share. Answers without a value do not vote; if none of the
k has one, the subset is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_ANSWERS = 1_000
"""The most answers to a problem for which `majority_at` counts subsets: of more, their number overflows."""


def shown_ks(answers: int) -> list[int]:
    """The values of k that are reported for this many answers per problem: powers of 2, and all of the answers."""
    powers = [2**power for power in range(answers.bit_length()) if 2**power < answers]
    return [*powers, answers]


def pass_at(correct: NDArray[Any], answers: NDArray[Any], k: int) -> NDArray[np.float64]:
    """pass@k of each problem: `1 - C(n - c, k) / C(n, k)`.

    Args:
        correct: Number of correct answers, `[problem]`.
        answers: Number of answers, `[problem]`, each at least k.
        k: Number of attempts.

    Raises:
        ValueError: A problem has fewer than k answers.
    """
    if k < 1 or int(answers.min()) < k:
        raise ValueError(f"k = {k} needs at least {k} answers to each problem, but one has only {int(answers.min())}")
    wrong = np.asarray(answers - correct, dtype=float)[:, None]
    drawn = np.arange(k)
    missed = np.clip(wrong - drawn, 0, None) / (np.asarray(answers, dtype=float)[:, None] - drawn)
    return np.asarray(1 - missed.prod(axis=1))


def majority_at(votes: Sequence[tuple[int, int]], silent: int) -> NDArray[np.float64]:
    """maj@k of one problem for k = 1 to n: `[n]`.

    Subsets are counted, not listed: for each correct value and each number of votes it may get, a table counts the
    ways in which no other value gets more, by the size of the subset and by how many values get as many.

    Args:
        votes: For each different value, how many answers give it, and how many of these are correct.
        silent: Number of answers without a value.

    Raises:
        ValueError: There are more than `MOST_ANSWERS` answers, or none.
    """
    n = sum(count for count, _ in votes) + silent
    if not 1 <= n <= MOST_ANSWERS:
        raise ValueError(f"majorities of {n} answers cannot be counted")
    # The order of values does not matter, and many problems have the same counts.
    return _majority_at(tuple(sorted(votes)), silent)


@lru_cache(maxsize=100_000)
def _majority_at(votes: tuple[tuple[int, int], ...], silent: int) -> NDArray[np.float64]:
    n = sum(count for count, _ in votes) + silent
    won = np.zeros(n + 1)
    for index, (count, correct) in enumerate(votes):
        if correct:
            others = [other for place, (other, _) in enumerate(votes) if place != index]
            for top in range(1, count + 1):
                ties = _ways(others, silent, top, n - top)
                share = ties @ (1 / np.arange(1, ties.shape[1] + 1))
                won[top:] += correct / count * float(comb(count, top)) * share
    subsets = np.array([float(comb(n, k)) for k in range(1, n + 1)])
    return np.asarray(won[1:] / subsets)


def _ways(others: Sequence[int], silent: int, top: int, most: int) -> NDArray[np.float64]:
    """The ways to choose answers such that no value gets more than `top` votes: `[size, values with top votes]`.

    Args:
        others: The votes for each value that is chosen from.
        silent: Answers without a value, of which any number may be chosen.
        top: The most votes.
        most: The largest size.
    """
    ways = np.zeros((most + 1, min(len(others), most // top) + 1))
    ways[: silent + 1, 0] = [float(comb(silent, chosen)) for chosen in range(min(silent, most) + 1)]
    for votes in others:
        before, ways = ways, np.zeros_like(ways)
        for chosen in range(min(votes, top, most) + 1):
            added = float(comb(votes, chosen)) * before[: most + 1 - chosen]
            if chosen < top:
                ways[chosen:] += added
            else:
                ways[chosen:, 1:] += added[:, :-1]
    return ways
