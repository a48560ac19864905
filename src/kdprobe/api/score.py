"""Scoring existing answers; no model is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.results.at_k import SHOWN as AT_K
from kdprobe.api.results.at_k import at_k_scores
from kdprobe.api.results.reading import reading_sentences
from kdprobe.api.results.result import Result
from kdprobe.api.results.sections import Listed, Section, Tabled
from kdprobe.api.session import AnyPath, calling

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.comparison.answers import Outputs
    from kdprobe.comparison.finding import Finding
    from kdprobe.comparison.scoring import Score

SHOWN = (
    "name", "extractor", "correct", "n", "accuracy", "interval_low", "interval_high", "log_p_gold_value", "no_answer",
    "empty", "cut_off",
)  # fmt: skip
KNOWN = ("log_p_gold_value", "empty")
"""Columns that are shown only where they say something."""


@dataclass(frozen=True, eq=False, repr=False)
class ScoreResult(Result):
    """Scores of answers.

    Attributes:
        details: A `kdprobe.comparison.Score` for each file and extractor.
        names: The name of each set of answers.
    """

    details: tuple[Score, ...]
    names: tuple[str, ...]

    @property
    def scores(self) -> pd.DataFrame:
        """A table with a row per file and extractor.

        Its columns are the `name` and the numeric fields of `kdprobe.comparison.Score`. Shares are from 0 to 1,
        log-probabilities in nats. `interval_low` and `interval_high` are the 95% interval of the accuracy,
        `log_p_interval_low` and `log_p_interval_high` that of `log_p_gold_value`.
        """
        from kdprobe.api.results.frames import frame
        from kdprobe.comparison.scoring import Score

        table = frame(Score, self.details)
        table.insert(0, "name", list(self.names))
        return table

    @property
    def at_k(self) -> pd.DataFrame:
        """A row for each pass@k and maj@k of answers with several samples per problem; empty without any.

        `value` is the mean over problems, from 0 to 1, with its 95% interval `interval_low` to `interval_high`.
        """
        return at_k_scores(list(zip(self.names, self.details, strict=True)))

    @property
    def findings(self) -> list[Finding]:
        """What may invalidate the scores, such as truncated answers, each with `code`, `evidence` and `action`."""
        from kdprobe.comparison.findings import share_findings

        return share_findings(self._labelled) if self.details else []

    @property
    def _labelled(self) -> dict[str, Score]:
        """The scores, by the names that findings use for them; no two names are equal."""
        several = len(set(self.names)) < len(self.names)
        labelled: dict[str, Score] = {}
        for number, (name, score) in enumerate(zip(self.names, self.details, strict=True), start=1):
            label = f"{name} ({score.extractor})" if several else name
            labelled[label if label not in labelled else f"{label}, number {number}"] = score
        return labelled

    def _data(self) -> list[dict[str, Any]]:
        """The output of `kdprobe score --json`: each row has the findings that concern it."""
        from kdprobe.comparison.findings import share_findings

        codes = {finding.code for finding in self.findings}
        return [
            {
                "name": name,
                **asdict(score),
                "findings": [asdict(each) for each in share_findings({label: score}) if each.code in codes],
            }
            for name, (label, score) in zip(self.names, self._labelled.items(), strict=True)
        ]

    def _sections(self) -> Iterator[Section]:
        yield Tabled("Scores", self.scores, SHOWN, KNOWN)
        yield Tabled("Several samples per problem", self.at_k, AT_K)
        yield Listed("Findings", [str(finding) for finding in self.findings])
        yield Listed("How the answers were read", reading_sentences(dict(zip(self.names, self.details, strict=True))))


def score(
    *files: AnyPath
    | Sequence[AnyPath]
    | pd.DataFrame
    | Sequence[Mapping[str, Any]]
    | Mapping[str, Any]
    | Outputs
    | Result,
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
        files: Any number of: paths of files or lists of them; folders of `.jsonl` files; tables, as a
            `pandas.DataFrame` or a list of dicts; results of `kdprobe.evaluate`, `kdprobe.run` or
            `kdprobe.comparison.read_outputs`; and dicts that name files, tables or results of the last.
        extractor: An extractor's name, or `all`.
        response_column: The column with the model's answers. This and the next two apply to all files that have such a
            column; in the others, and by default, the usual names are tried.
        gold_column: The column with gold answers: a value, or a solution that ends in `#### value`.
        id_column: The column that identifies problems.
        encoding: The encoding of text files; by default it is detected.
        plugins_dir: A folder from which to load more plugins.
        no_plugins: Load only kdprobe's own plugins.
        progress: Whether to print progress and notes to stderr.

    Raises:
        UsageError: There is nothing to score, or a column is missing or ambiguous.
        KdprobeError: A file cannot be read, or has ambiguous cells.
    """
    from kdprobe.api.given.answers import expanded, read_answers
    from kdprobe.comparison.reading.columns import Columns, refuse_unused
    from kdprobe.comparison.scoring import scores
    from kdprobe.errors import UsageError
    from kdprobe.experiment.compare_runs import short_names

    with calling(progress=progress) as call:
        if not files:
            raise UsageError("There is nothing to score.", "Pass at least one file or table.")
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        names = host.names("extractors") if extractor == "all" else [extractor]
        extractors = {name: host.create("extractors", name) for name in names}
        answers = [each for given in files for each in expanded(given)]
        short = short_names([Path(each) for each in answers if isinstance(each, str | os.PathLike)])
        named = [pair for given in answers for pair in _named(given)]
        columns = Columns(response_column, gold_column, id_column, optional=len(named) > 1)
        found, called = [], []
        for name, each in named:
            scored = scores(read_answers(each, columns, encoding, name), extractors)
            found += scored
            path = Path(each) if isinstance(each, str | os.PathLike) else None
            called += [name or (short[path] if path else score.file) for score in scored]
        refuse_unused(columns, (score.columns for score in found))
        return ScoreResult(tuple(found), tuple(called), warnings=tuple(call.warnings))


def _named(given: Any) -> Iterator[tuple[str | None, Any]]:
    """Yields answers with their names, or `None` if they have none."""
    if isinstance(given, Mapping):
        yield from ((str(name), answers) for name, answers in given.items())
    else:
        yield None, given
