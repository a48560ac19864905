"""Scoring existing answers; no model is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kdprobe.api.results.result import Result
from kdprobe.api.results.sections import Section, Tabled
from kdprobe.api.session import AnyPath, calling

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.comparison.answers import Outputs
    from kdprobe.comparison.scoring import Score

SHOWN = ("file", "extractor", "correct", "n", "accuracy", "interval_low", "interval_high", "no_answer", "cut_off")


@dataclass(frozen=True, eq=False, repr=False)
class ScoreResult(Result):
    """Scores of answers.

    Attributes:
        details: A `kdprobe.comparison.Score` for each file and extractor.
    """

    details: tuple[Score, ...]

    @property
    def scores(self) -> pd.DataFrame:
        """A row for each file and extractor, a column for each number of `kdprobe.comparison.Score`.

        Shares are from 0 to 1, log-probabilities in nats; 95 % intervals are `NAME_low` and `NAME_high`.
        """
        from kdprobe.api.results.frames import frame
        from kdprobe.comparison.scoring import Score

        return frame(Score, self.details)

    def _data(self) -> list[dict[str, Any]]:
        """What `kdprobe score --json` prints."""
        return [asdict(score) for score in self.details]

    def _sections(self) -> Iterator[Section]:
        yield Tabled("Scores", self.scores, SHOWN)


def score(
    *files: AnyPath | pd.DataFrame | Sequence[Mapping[str, Any]] | Mapping[str, Any] | Outputs,
    extractor: str = "robust",
    response_column: str | None = None,
    gold_column: str | None = None,
    id_column: str | None = None,
    encoding: str | None = None,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    progress: bool = True,
) -> ScoreResult:
    """Scores existing answers, as `kdprobe score` does.

    Args:
        files: Paths of files, tables as `pandas.DataFrame` or lists of dicts, what `kdprobe.comparison.read_outputs`
            returns, or dicts of names to any of these.
        extractor: An extractor's name, or `all`.
        response_column: What the model wrote; by default found by its usual names.
        gold_column: The gold answer: a value, or a solution that ends in `#### value`.
        id_column: The column that identifies problems.
        encoding: Of text files; by default it is detected.
        plugins_dir: A folder of plugins to load, too.
        no_plugins: Load only kdprobe's own plugins.
        progress: Whether notes go to stderr.

    Raises:
        UsageError: There is nothing to score, a column is missing, or which one is meant is not certain.
        KdprobeError: A file cannot be read, or its cells leave a doubt.
    """
    from kdprobe.api.given.answers import read_answers
    from kdprobe.comparison.reading.columns import Columns
    from kdprobe.comparison.scoring import scores
    from kdprobe.errors import UsageError

    with calling(progress=progress) as call:
        if not files:
            raise UsageError("There is nothing to score.", "Give at least one file or table.")
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        names = host.names("extractors") if extractor == "all" else [extractor]
        extractors = {name: host.create("extractors", name) for name in names}
        columns = Columns(response_column, gold_column, id_column)
        named = [pair for given in files for pair in (given.items() if isinstance(given, Mapping) else [(None, given)])]
        found = [
            score
            for name, answers in named
            for score in scores(read_answers(answers, columns, encoding, name), extractors)
        ]
        return ScoreResult(tuple(found), warnings=tuple(call.warnings))
