"""Statistics: intervals, paired tests and corrections for multiple tests, independent of what was measured.

scipy loads its submodules on first use, and statsmodels is imported inside the functions that need it: together they
take seconds to load, and many commands need neither.
"""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports

if TYPE_CHECKING:
    from kdprobe.stats.bootstrap import Means, mean_interval, means_over_problems
    from kdprobe.stats.intervals import Interval, accuracy_interval
    from kdprobe.stats.mcnemar import PairedTest, paired_test
    from kdprobe.stats.p_values import holm
    from kdprobe.stats.permutations.max_t import max_t as max_t_test
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.stats.bootstrap": ["Means", "mean_interval", "means_over_problems"],
            "kdprobe.stats.intervals": ["Interval", "accuracy_interval"],
            "kdprobe.stats.permutations.max_t": ["max_t as max_t_test"],
            "kdprobe.stats.mcnemar": ["PairedTest", "paired_test"],
            "kdprobe.stats.p_values": ["holm"],
        },
    )

__all__ = [
    "Interval",
    "Means",
    "PairedTest",
    "accuracy_interval",
    "holm",
    "max_t_test",
    "mean_interval",
    "means_over_problems",
    "paired_test",
]
