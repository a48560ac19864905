"""Comparing answers problem by problem; no model is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.results.at_k import SHOWN as AT_K
from kdprobe.api.results.at_k import at_k_pairs, at_k_scores
from kdprobe.api.results.compared.data import comparison_data
from kdprobe.api.results.compared.leaks import LeakTables
from kdprobe.api.results.reading import reading_sentences
from kdprobe.api.results.result import Result
from kdprobe.api.results.sections import Listed, Section, Tabled
from kdprobe.api.results.tasks import CHANGES as TASK_CHANGES
from kdprobe.api.results.tasks import KNOWN as TASK_KNOWN
from kdprobe.api.results.tasks import SHOWN as TASK_SCORES
from kdprobe.api.score import KNOWN
from kdprobe.api.session import AnyPath, calling, open_store
from kdprobe.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.comparison.finding import Finding
    from kdprobe.comparison.result import Comparison

_SCORES = (
    "name", "correct", "n", "accuracy", "interval_low", "interval_high", "log_p_gold_value", "no_answer", "empty",
    "cut_off",
)  # fmt: skip
_PAIRS = (
    "family", "a", "b", "difference", "interval_low", "interval_high", "only_a", "only_b", "p", "p_holm",
    "log_p_difference",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class CompareResult(LeakTables, Result):
    """A comparison of arms on the problems they share.

    Attributes:
        comparison: The full comparison, as records.
    """

    comparison: Comparison

    @property
    def scores(self) -> pd.DataFrame:
        """A table with a row per arm and a column for each numeric field of `kdprobe.comparison.ArmScore`.

        The columns are as in `ScoreResult.scores`.
        """
        from kdprobe.api.results.frames import frame
        from kdprobe.comparison.result import ArmScore

        return frame(ArmScore, self.comparison.arms)

    @property
    def pairs(self) -> pd.DataFrame:
        """A table with a row per pair of arms and a column for each numeric field of `kdprobe.comparison.Pair`.

        `family`, `a` and `b` identify the pair. `n` problems were compared; `only_a` and `only_b` of them were solved
        by one arm only. `difference` is the accuracy of a minus that of b, from -1 to 1, with the 95% interval
        `interval_low` to `interval_high`. `p` is that of McNemar's exact test, two-sided, and `p_holm` is adjusted
        within the family. `detectable` is the smallest true difference that would be found four times in five. The
        columns that start with `clustered_` are the same test over groups of problems, `log_p_` the difference in log
        p(gold value) in nats, and `arithmetic_` the difference in the share of correct steps.

        With several samples per problem (`samples`), means over them are compared: `only_a` and `only_b` count the
        problems on which one arm has the higher mean, and `p` is that of the exact sign-flip test over problems.
        """
        from kdprobe.api.results.frames import frame
        from kdprobe.comparison.result import Pair

        return frame(Pair, self.comparison.pairs, unnested={"test"})

    @property
    def at_k(self) -> pd.DataFrame:
        """A row per arm and measure (pass@k, maj@k) of answers with several samples per problem; see `ScoreResult`."""
        return at_k_scores([(arm.name, arm) for arm in self.comparison.arms])

    @property
    def at_k_pairs(self) -> pd.DataFrame:
        """A row per pair of arms and measure: `difference`, its 95% interval, and an unadjusted `p` (sign flips)."""
        return at_k_pairs(self.comparison.pairs)

    @property
    def strategies(self) -> pd.DataFrame:
        """A table with a row for each pair of strategies with at least three seeds, compared over seeds and problems.

        The columns are the numeric fields of `kdprobe.comparison.StrategyPair`. `difference`, `interval_low`,
        `interval_high`, `p` and `p_holm` are as in `pairs`; `seeds_a` and `seeds_b` count the students.
        """
        from kdprobe.api.results.frames import frame
        from kdprobe.comparison.strategy_tests import StrategyPair

        return frame(StrategyPair, self.comparison.strategies, unnested={"test"})

    @property
    def task_scores(self) -> pd.DataFrame:
        """A row per student and task besides the deciding one, with the fields of its score; empty without other tasks.

        Scores of metrics of right and wrong are from 0 to 1; those of perplexities are log-likelihoods in nats.
        """
        from kdprobe.api.results.frames import frame
        from kdprobe.comparison.tasks.scores import TaskScore

        return frame(TaskScore, self.comparison.tasks.scores if self.comparison.tasks else [])

    @property
    def task_changes(self) -> pd.DataFrame:
        """A row per student (or strategy) and other task, against the untrained student; empty without other tasks.

        `change` is signed so that a loss is negative; `low` and `high` are its one-sided 95% bounds. The `outcome` on a
        retention task is `retained`, `lost` or `not shown`.
        """
        from kdprobe.api.results.tasks import changes_frame

        return changes_frame(self.comparison.tasks.changes if self.comparison.tasks else [])

    @property
    def verdict(self) -> list[str]:
        """What the results support, as a list of sentences."""
        return self.comparison.verdict

    @property
    def findings(self) -> list[Finding]:
        """What may mislead, each with `code`, `evidence` and `action`."""
        return self.comparison.findings

    def _data(self) -> dict[str, Any]:
        """The output of `kdprobe compare --json`."""
        return comparison_data(self.comparison)

    def _sections(self) -> Iterator[Section]:
        yield Listed("Verdict", self.verdict)
        yield Tabled("Accuracy", self.scores, _SCORES, KNOWN)
        yield Tabled("Pairs", self.pairs, _PAIRS, ("log_p_difference",))
        yield Tabled("Several samples per problem", self.at_k, AT_K)
        yield Tabled("Differences in pass@k and maj@k", self.at_k_pairs, AT_K)
        yield Tabled("Tasks", self.task_scores, TASK_SCORES, TASK_KNOWN)
        yield Tabled("Retained or lost", self.task_changes, TASK_CHANGES)
        yield from self._leak_sections()
        yield Listed("Arms without answers", [f"{arm.name} {arm.reason}" for arm in self.comparison.absent])
        yield Listed("Findings", [str(finding) for finding in self.findings])
        yield Listed("How the answers were read", reading_sentences({arm.name: arm for arm in self.comparison.arms}))
        yield Listed("Pairing", [self.comparison.pairing] if self.comparison.pairing else [])


def compare(
    *names: AnyPath | Sequence[AnyPath] | Mapping[str, Any] | Result,
    extractor: str = "robust",
    response_column: str | None = None,
    gold_column: str | None = None,
    id_column: str | None = None,
    encoding: str | None = None,
    claims: AnyPath | None = None,
    baseline: str | None = None,
    out: AnyPath | None = None,
    store: AnyPath | None = None,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    progress: bool = True,
) -> CompareResult:
    """Compares answers, runs, or single arms of runs, problem by problem, as `kdprobe compare` does.

    Args:
        names: Any number of: paths of files or lists of them; folders of `.jsonl` files; runs, by their names or unique
            prefixes; arms of runs, as `RUN/ARM`; results of `kdprobe.evaluate` and `kdprobe.run`; and dicts that name
            files, tables (a `pandas.DataFrame` or a list of dicts) or results of `kdprobe.comparison.read_outputs`. The
            arms of a single run are compared in the families planned for it; otherwise all pairs form one family.
        extractor: The extractor used for scores and tests.
        response_column: The column with the model's answers. This and the next two apply to all files that have such a
            column; in the others, and by default, the usual names are tried.
        gold_column: The column with gold answers: a value, or a solution that ends in `#### value`.
        id_column: The column that identifies problems.
        encoding: The encoding of text files; by default it is detected.
        claims: A table of published numbers to check, with a column `arm` and any of `accuracy`, `correct` and `n`.
        baseline: The arm that all others are compared with, instead of all pairs; or a run, whose arms are compared
            with those of the same strategies in other runs. `base` also stands for the model without an adapter that a
            result of `kdprobe.evaluate` contains.
        out: An HTML file to write, with the comparison and all answers to explore; it needs no network.
        store: The folder of runs; the default is the value of `KDPROBE_STORE`, else `kdprobe-runs`.
        plugins_dir: A folder from which to load more plugins.
        no_plugins: Load only kdprobe's own plugins.
        progress: Whether to print progress and notes to stderr.

    Raises:
        UsageError: There are fewer than two arms, a name is not a file or run, two arms have the same name, or a
            column is missing or ambiguous.
        KdprobeError: A file or a run cannot be read, or the arms answered different problems.
    """
    from kdprobe.api.given.answers import expanded
    from kdprobe.api.given.compared import run_of, sources_of
    from kdprobe.comparison.claims import claim_findings, read_claims
    from kdprobe.comparison.reading.columns import Columns
    from kdprobe.experiment.compare_runs import compare_named

    with calling(progress=progress) as call:
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        if extractor == "all":
            raise UsageError(
                "A comparison uses one extractor; `score` can use all.",
                f"Choose one of {', '.join(host.names('extractors'))}.",
            )
        host.get("extractors", extractor)
        columns = Columns(response_column, gold_column, id_column, optional=True)
        read = read_claims(Path(claims)) if claims else []
        with_runs = [(name, run_of(name)) for name in names]
        runs = [run for _, run in with_runs if run]
        given = [each for name, run in with_runs for each in ([run[0]] if run else expanded(name))]
        sources = [source for each in given for source in sources_of(each, columns, encoding)]
        bases = [base for name in names if isinstance(name, Result) and (base := name._base())]  # noqa: SLF001
        opened = open_store(store or (runs[0][1] if runs else None))
        extractors = host.all("extractors")
        named = compare_named(
            sources, opened, columns, extractors, extractor, encoding=encoding, baseline=baseline, bases=bases
        )
        comparison = named.comparison
        comparison.findings.extend(claim_findings(read, comparison.arms))
        if out is not None:
            from kdprobe.report.compare_page import write_compare_page
            from kdprobe.report.facts import runs_facts

            write_compare_page(
                Path(out),
                named.arms,
                comparison,
                extractors[extractor],
                facts=runs_facts(named.runs),
                cautions=named.cautions,
            )
        return CompareResult(comparison, warnings=tuple(call.warnings))
