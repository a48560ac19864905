"""Tables of a finished run, one per arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdprobe.errors import KdprobeError

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.experiment.results import Results


class ArmTables(dict[str, "pd.DataFrame"]):
    """Tables by arm; if a strategy has only one arm, the strategy's own name finds its table."""

    def __init__(
        self, results: Results, what: str, rows: Mapping[str, Sequence[Mapping[str, Any]]], absent: Mapping[str, str]
    ) -> None:
        """Makes the tables.

        Args:
            results: The run.
            what: What the tables hold, for errors.
            rows: The rows of each arm that has a table.
            absent: For each other arm the reason, as the end of a sentence.
        """
        import pandas as pd

        super().__init__({arm: pd.DataFrame(records) for arm, records in rows.items()})
        self._results = results
        self._what = what
        self._absent = absent

    def __missing__(self, name: str) -> pd.DataFrame:
        """Finds the table of the only arm of a strategy with this name.

        Raises:
            UsageError: The run has no such arm.
            KdprobeError: The arm has no table, for example because it was not trained.
        """
        arm = self._results.arm(name)
        if arm.name in self._absent:
            raise KdprobeError(f"{self._results.run}/{arm.name} has no {self._what}: it {self._absent[arm.name]}")
        return self[arm.name]
