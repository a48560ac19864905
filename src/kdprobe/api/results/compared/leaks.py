"""Traces of priming in answers, and the answers' lengths, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kdprobe.api.results.sections import Section, Tabled

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.comparison.leaks.result import LeakRate
    from kdprobe.comparison.result import Comparison

_SHOWN = (
    "name", "kind", "against", "rate_a", "rate_b", "difference", "interval_low", "interval_high", "p_holm", "teacher",
)  # fmt: skip
_TEST = ("n", "seeds", "rate_a", "rate_b", "difference", "interval", "p")


class LeakTables:
    """The part of a comparison's result that concerns traces of priming."""

    comparison: Comparison

    @property
    def leaks(self) -> pd.DataFrame:
        """A row per strategy (or arm) and kind of trace of priming in its answers; empty without texts.

        `kind` is `hedging`, `self-correction`, `hint` or `quote`. `rate` is the share of all answers that show it; if
        there are several answers to a problem, only the first counts. Where it is known which arm is unprimed
        (`against`), `rate_a` and `rate_b` are the shares on the shared problems, with their `difference`, its 95%
        interval, and one-sided p-values. `teacher` is the share of the teacher's answers.
        """
        import pandas as pd

        return pd.DataFrame([_row(rate) for rate in self.comparison.leaks.rates] if self.comparison.leaks else [])

    @property
    def lengths(self) -> pd.DataFrame:
        """The mean length of each arm's answers, in words without thinking and in tokens; empty without texts.

        If there are several answers to a problem, only the first counts.
        """
        from kdprobe.api.results.frames import frame
        from kdprobe.comparison.leaks.result import AnswerLength

        return frame(AnswerLength, self.comparison.leaks.lengths if self.comparison.leaks else [])

    def _leak_sections(self) -> Iterator[Section]:
        """The table, if a rate is significantly higher than that of the unprimed answers."""
        audit = self.comparison.leaks
        if audit and any(rate.significant for rate in audit.rates):
            compared = self.leaks[self.leaks["against"].notna()]
            where = " in the first answer to each problem" if audit.only_first else ""
            yield Tabled(f"Traces of priming{where}", compared, _SHOWN, ("teacher",))


def flat_test(rate: LeakRate) -> dict[str, Any]:
    """The fields of a rate's test in `--json` and tables; all `None` if there was no test."""
    return {name: getattr(rate.test, name, None) for name in _TEST}


def _row(rate: LeakRate) -> dict[str, Any]:
    test = flat_test(rate)
    interval = test.pop("interval")
    bounds = {f"interval_{end}": getattr(interval, end, None) for end in ("low", "high")}
    names = ("kind", "name", "rate", "against", "p_holm", "teacher", "teacher_against")
    return {**{name: getattr(rate, name) for name in names}, **test, **bounds}
