"""Heads are selected by their effects on some problems, and tested on others.

What is selected and measured on the same problems looks larger than it is. So problems are divided into folds:

- What every fold's other problems select does not depend on the problems of that fold (cross-validation; Stone, M.
  (1974), "Cross-validatory choice and assessment of statistical predictions").
- A test needs more. If two folds select for each other, their effects are correlated although neither has seen its own
  problems, and the mean over folds varies more than it seems to: tested against random sets at 5%, null effects were
  found in up to 12% of simulations. So a set that is tested on a fold is selected on the folds before it (Dawid, A. P.
  (1984), "Statistical theory: the prequential approach"). Given the earlier folds, such a set is fixed, and if no
  column differs from the others, its effect is distributed as that of a random set.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.labels import Head
from kdprobe.stats.bootstrap import Array, bootstrap


@dataclass(frozen=True)
class Selection:
    """The top heads on some of the problems.

    Attributes:
        folds: The fold of each problem, `[problem]`; all in one if there is a single problem.
        without: The top heads on the problems of all other folds, `[fold]`, as far as replacing them changes anything;
            empty with a single fold.
        before: The top heads on the problems of the folds before it, of each fold but the first.
        screened: As `without`, as many heads as are replaced exactly.
        resamples: The share of resamples of the problems in which a head is among the top ones, `[layer, head]`.
    """

    folds: NDArray[np.int64]
    without: list[list[Head]]
    before: list[list[Head]]
    screened: list[list[Head]]
    resamples: Array

    def sentence(self) -> str:
        """How heads are selected."""
        count = int(self.folds.max()) + 1
        if count == 1:
            return (
                "With one problem, the top heads are selected on the problem that their effects are measured on, so "
                "they are not compared with random sets."
            )
        return (
            f"The problems are divided into {count} folds. Individual heads are named for their effects only if they "
            "are among the top heads whichever fold is left out. The top heads that are replaced together on a fold "
            "are selected using only the earlier folds, so they are never tested on problems that were used to select "
            "them; the first fold is used only for their selection."
        )

    def leading(self, heads: Sequence[Head], effects: Array, count: int, chosen: Collection[Head] = ()) -> list[int]:
        """The heads with the largest effects, whichever fold is left out.

        Args:
            heads: The heads that were replaced exactly.
            effects: Their effects, in the direction in which they are large, `[problem, head]`.
            count: How many heads lead.
            chosen: Those of them that were not selected by their effects; of the others, only those lead that the other
                problems would have had replaced exactly.

        Returns:
            Indices of the heads that are among the first `count` on the other problems of every fold, by decreasing
            mean effect.
        """
        means = effects.mean(axis=0)
        leading = set(range(len(heads)) if self.screened else np.argsort(-means, kind="stable")[:count].tolist())
        for fold, screened in enumerate(self.screened):
            others = effects[self.folds != fold].mean(axis=0)
            eligible = [head in screened or head in chosen for head in heads]
            order = np.argsort(-np.where(eligible, others, -np.inf), kind="stable")[:count]
            leading &= {index for index in order.tolist() if eligible[index]}
        return sorted(leading, key=lambda index: -means[index])


def select_heads(screened: Array, together: int, exact: int, folds: int, seed: int) -> Selection:
    """Selects heads by their estimated effects on some of the problems.

    Args:
        screened: In the direction in which effects are large, `[problem, layer, head]`.
        together: How many top heads are replaced together.
        exact: How many heads are replaced exactly.
        folds: Into how many folds the problems are divided.
        seed: Of the bootstrap.
    """
    values, heads = screened.reshape(len(screened), -1), screened.shape[-1]
    members = folds_of(len(values), folds)

    # Heads whose replacement changes nothing fill up a set, but nothing selects them.
    changes = (values != 0).any(axis=0)

    def named(selected: Iterable[list[int]]) -> list[list[Head]]:
        return [[divmod(column, heads) for column in columns] for columns in selected]

    return Selection(
        members,
        without=named(
            [column for column in columns if changes[column]] for columns in selected_without(values, together, members)
        ),
        before=named(selected_before(values, together, members)),
        screened=named(selected_without(values, exact, members)),
        resamples=(selected_in_resamples(values, together, seed) * changes).reshape(screened.shape[1:]),
    )


def folds_of(problems: int, folds: int) -> NDArray[np.int64]:
    """The fold of each problem, `[problem]`: problems in turn, with no more folds than problems."""
    return np.arange(problems) % min(folds, problems)


def selected_without(values: Array, count: int, folds: NDArray[np.int64]) -> Iterator[list[int]]:
    """What the problems of all other folds select, for each fold: the columns with the largest means.

    Args:
        values: `[problem, column]`, in the direction in which they are large.
        count: How many columns are selected.
        folds: Each problem's fold, `[problem]`.

    Yields:
        The columns, the largest first; nothing with a single fold, which has no other problems.
    """
    for fold in range(int(folds.max()) + 1 if folds.any() else 0):
        yield _largest(values[folds != fold].mean(axis=0), count).tolist()


def selected_before(values: Array, count: int, folds: NDArray[np.int64]) -> Iterator[list[int]]:
    """What the problems of the folds before it select, for each fold but the first; the arguments are the same."""
    for fold in range(1, int(folds.max()) + 1):
        yield _largest(values[folds < fold].mean(axis=0), count).tolist()


def selected_in_resamples(values: Array, count: int, seed: int = 0) -> Array:
    """The share of resamples of the problems that select a column, `[column]`.

    Args:
        values: `[problem, column]`, in the direction in which they are large.
        count: How many columns are selected.
        seed: Of the bootstrap.
    """

    def selected(drawn: Array) -> Array:
        means = drawn @ values
        found = np.zeros(means.shape)
        np.put_along_axis(found, _largest(means, count), 1.0, axis=1)
        return found

    share: Array = bootstrap(selected, len(values), seed=seed).mean(axis=0)
    return share


def _largest(values: Array, count: int) -> NDArray[np.int64]:
    """The columns with the largest values, `[..., count]`; of equal ones, the first; those without a value last."""
    ordered: NDArray[np.int64] = np.argsort(-np.nan_to_num(values, nan=-np.inf), axis=-1, kind="stable")[..., :count]
    return ordered
