"""The top heads together against random sets of as many heads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kdprobe.evaluation.statistics import SIGNIFICANT
from kdprobe.evaluation.verdict import p_text
from kdprobe.probing.causes.sweep import Array, Sign, Sweep
from kdprobe.probing.resampling import means_over_problems


@dataclass(frozen=True)
class Control:
    """On the log-probability of the gold solution, means over problems, in nats.

    Attributes:
        heads: How many heads are in a set.
        top: Effect of the top heads together.
        low: Where its 95 % interval over problems begins; NaN for one problem.
        high: Where it ends.
        random: Effects of the random sets, `[set]`.
        p: Share of sets, the top one counted in, whose effect reaches that of the top heads. The top heads were
            chosen on the same problems, so it says how rare such a set is, not what other problems would show.
    """

    heads: int
    top: float
    low: float
    high: float
    random: Array
    p: float

    @property
    def stands_out(self) -> bool:
        """Whether random sets as large are rare."""
        return self.p <= SIGNIFICANT

    def sentence(self) -> str:
        """What the random sets say of the top heads."""
        interval = f", {self.low:+.2f} to {self.high:+.2f}" if np.isfinite(self.low) else ""
        effect = f"The first {self.heads} together: {self.top:+.2f} nats{interval}"
        if not len(self.random):
            return f"{effect}."
        reached = round(self.p * (len(self.random) + 1)) - 1
        drawn = (
            f"{len(self.random)} random sets of {self.heads}: {np.median(self.random):+.2f} in the median, "
            f"{self.random.min():+.2f} to {self.random.max():+.2f}"
        )
        verdict = "none does as much" if reached == 0 else f"{reached} of them do as much"
        standing = "" if self.stands_out else ", so these heads do not stand out"
        return f"{effect}; {drawn}; {verdict}{standing} (p = {p_text(self.p)}; chosen on the same problems)."


def control(swept: Sweep, sign: Sign, seed: int) -> Control:
    """Compares; `sign` says in which direction an effect is large."""
    means = means_over_problems(swept.together[:, 0], seed)
    random = swept.random[..., 0].mean(axis=0)
    top = float(means.value)
    p = (1 + int((sign * random >= sign * top).sum())) / (1 + len(random))
    return Control(len(swept.top), top, float(means.low), float(means.high), random, p)
