"""What McNemar's exact test could have found at this number of problems, and how many problems it would need."""

from __future__ import annotations

import numpy as np
import scipy

_TAIL = 1e-12
"""Chance of numbers of discordant problems that are left out at either end."""


def mcnemar_power(n: int, difference: float, discordant_share: float, alpha: float = 0.05) -> float:
    """Chance that McNemar's exact test, two-sided, rejects.

    The number of discordant problems is binomial, and given it, the number that only a solved. Both are summed exactly.

    Args:
        n: Problems.
        difference: True accuracy of a minus that of b, at most the share in size.
        discordant_share: True share of problems that only one of the two solves, from 0 to 1.
        alpha: p below this rejects. Within a family adjusted by Holm's method, divide by the number of comparisons to
            be on the safe side.
    """
    if discordant_share == 0:
        return 0.0
    low, high = scipy.stats.binom.ppf([_TAIL, 1 - _TAIL], n, discordant_share)
    discordant = np.arange(low, high + 1)
    # Rejected when at most this many were solved by only one side, whichever; -1 where no split is unlikely enough.
    largest = scipy.stats.binom.ppf(alpha / 2, discordant, 0.5) - 1
    only_a = (1 + difference / discordant_share) / 2
    rejects = scipy.stats.binom.cdf(largest, discordant, only_a) + scipy.stats.binom.sf(
        discordant - largest - 1, discordant, only_a
    )
    return float(scipy.stats.binom.pmf(discordant, n, discordant_share) @ rejects)


def detectable_difference(n: int, discordant_share: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest true difference of accuracy that McNemar's exact test would have found with this power.

    Args:
        n: Problems.
        discordant_share: Share of problems that only one of the two solves, from 0 to 1.
        alpha: As in `mcnemar_power`.
        power: Chance of finding it.

    Returns:
        A difference above 0 and at most the share, or `None` where even all discordant problems on one side would not
        be found: too few problems, or a share of 0.
    """
    if mcnemar_power(n, discordant_share, discordant_share, alpha) < power:
        return None
    return float(
        scipy.optimize.brentq(
            lambda difference: mcnemar_power(n, difference, discordant_share, alpha) - power, 0.0, discordant_share
        )
    )


def problems_needed(difference: float, discordant_share: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """How many problems McNemar's exact test needs to find a difference with this power.

    Power goes up with problems but for ripples of the discrete test, so a few problems fewer may do by luck.

    Args:
        difference: True difference of accuracy, above 0.
        discordant_share: Share of problems that only one of the two solves, from 0 to 1.
        alpha: As in `mcnemar_power`.
        power: Chance of finding it.

    Returns:
        The number, or `None` for a difference that is not above 0 or larger than the share, which cannot be.
    """
    if not 0 < difference <= discordant_share:
        return None
    enough = 1
    while mcnemar_power(enough, difference, discordant_share, alpha) < power:
        enough *= 2
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if mcnemar_power(middle, difference, discordant_share, alpha) < power:
            too_few = middle
        else:
            enough = middle
    return enough
