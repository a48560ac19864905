"""Results as tables in the terminal, and as JSON on stdout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdprobe.cli.tables import new_table as _table
from kdprobe.cli.tables import sentence_list as _list
from kdprobe.console import out, plain

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from kdprobe.evaluation.comparison import ArmScore, Comparison, Pair
    from kdprobe.evaluation.scoring import Score
    from kdprobe.evaluation.statistics import Interval
    from kdprobe.evaluation.strategies import StrategyPair
    from kdprobe.experiment.results import Results
    from kdprobe.experiment.tune.trials import Trial, Tuned


def print_json(data: Any) -> None:
    """Data on stdout; NaN and infinities become null."""
    from kdprobe.experiment.store import clean

    click.echo(json.dumps(clean(data), indent=2, ensure_ascii=False, allow_nan=False))


def summary(results: Results, comparison: Comparison, page: Path) -> dict[str, Any]:
    """A run's results, for machines."""
    return {
        "run": results.run,
        "report": str(page),
        "cautions": results.record.get("cautions", []),
        **comparison_data(comparison),
        "fidelity": results.fidelity,
        "analyses": {analysis.name: {"findings": analysis.findings} for analysis in results.analyses},
        "seconds": results.record["seconds"],
    }


def show_results(results: Results, comparison: Comparison) -> None:
    """The tables of a run."""
    console = out()
    _list("Before anything else", results.record.get("cautions", []))
    for table in fidelity_tables(results.fidelity):
        console.print(table)
    for table in _comparison_tables(comparison):
        console.print(table)
    show_analyses({analysis.name: analysis.findings for analysis in results.analyses})
    _findings(comparison)
    taught = any(arm.strategy for arm in comparison.arms)
    _list("Did priming make a better student?" if taught else "Which student solves more?", comparison.verdict)


def show_analyses(findings: Mapping[str, Sequence[str]]) -> None:
    """What each analysis found."""
    for name, sentences in findings.items():
        _list(f"Inside the students ({name})", sentences)


def show_plan(run: str, stages: Sequence[dict[str, str]], *, threads: int, cautions: Sequence[str]) -> None:
    """The stages of a plan, and the number of threads, which decides their keys too."""
    _list("Before anything else", cautions)
    table = _table(f"Run {run}", "stage", "of", "status")
    for stage in stages:
        table.add_row(stage["kind"], plain(stage["name"]), stage["status"])
    out().print(table)
    missing = sum(stage["status"] == "missing" for stage in stages)
    out().print(f"{len(stages) - missing} of {len(stages)} stages are there, {missing} would be made.")
    out().print(f"Stages are kept for {threads} CPU threads; `threads` in the config fixes the number.")


def show_runs(rows: Sequence[dict[str, Any]]) -> None:
    """All runs with their accuracies."""
    if not rows:
        out().print("There are no finished runs yet; `kdprobe run` makes one.")
        return
    table = _table("Runs, newest first", "run", "accuracy")
    for row in rows:
        scores = ", ".join(f"{arm} {accuracy:.1%}" for arm, accuracy in row["accuracy"].items())
        table.add_row(plain(row["run"]), plain(scores))
    out().print(table)
    cautioned: dict[str, list[str]] = {}
    for row in rows:
        for caution in row["cautions"]:
            cautioned.setdefault(caution, []).append(row["run"])
    for caution, runs in cautioned.items():
        _list(f"Of {', '.join(runs)}", [caution])


def tuning_summary(tuned: Tuned) -> dict[str, Any]:
    """A finished search, for machines."""
    return {
        "study": tuned.study,
        "database": str(tuned.database),
        "strategy": tuned.strategy,
        "distiller": tuned.distiller,
        "by": tuned.by,
        "improved": tuned.improved,
        "best": _flat_trial(tuned.best),
        "current": _flat_trial(tuned.current),
        "gain": asdict(tuned.gain) if tuned.gain else None,
        "trials": [_flat_trial(trial) for trial in tuned.trials],
        "verdict": tuned.verdict(),
    }


def show_tuning(tuned: Tuned) -> None:
    """The best trials, the options to use, and what may be said of them."""
    from kdprobe.experiment.tune.trials import NAMES
    from kdprobe.experiment.tune.tuned_config import options_snippet

    listed = tuned.trials if tuned.current.number is not None else [tuned.current, *tuned.trials]
    # A failed trial has no figures: it comes last.
    ranked = sorted(listed, key=lambda trial: (trial.failure is not None, -trial.value(tuned.by)))
    shown = [trial for place, trial in enumerate(ranked) if place < _BEST or trial.number == tuned.current.number]
    names = list(tuned.current.choice)
    table = _table(
        f"Trials of {tuned.study}, best {NAMES[tuned.by]} first, on the validation problems",
        # Broken by hand: rich would rather cut the cells short.
        "trial", *("T" if name == "temperature" else name.replace("_", "\n") for name in names),
        "accuracy", "log p\n(gold)", "cut\noff",
    )  # fmt: skip
    for trial in shown:
        number = "" if trial.number is None else str(trial.number)
        mark = "*" if trial.number == tuned.current.number else ""
        table.add_row(f"{number}{mark}", *(plain(str(trial.choice[name])) for name in names), *_figures(trial))
    out().print(table)
    out().print("* The current options, those of the config.")
    if len(listed) > len(shown):
        out().print(f"{len(listed) - len(shown)} more trials are left out here; --json has them all.")
    failed = [trial for trial in ranked if trial.failure]
    _list("Failed", [f"{'*' if t.number is None else t.number}: {t.failure}" for t in failed])
    _list("Before you believe the figures", tuned.verdict())
    if tuned.improved:
        out().print("\nThe best options", style="bold")
        out().print(plain(options_snippet(tuned.best.options)))


def _figures(trial: Trial) -> list[str]:
    if trial.failure:
        return ["failed", "", ""]
    return [
        f"{trial.correct}/{trial.n} {trial.accuracy:.1%}",
        f"{trial.log_p_gold_value:.3f}",
        f"{trial.cut_off:.0%}",
    ]


def _flat_trial(trial: Trial) -> dict[str, Any]:
    return {key: value for key, value in asdict(trial).items() if key != "records"}


_BEST = 10


def show_scores(scores: Sequence[Score]) -> None:
    """Scores of files, one row per file and extractor."""
    table = _table("Scores", "file", "extractor", "correct", "accuracy", "95 % CI", "no answer", "empty", "cut off")
    for score in scores:
        table.add_row(
            plain(Path(score.file).name),
            plain(score.extractor),
            f"{score.correct}/{score.n}",
            f"{score.accuracy:.1%}",
            _points(score.interval),
            f"{score.no_answer:.1%}",
            f"{score.empty:.1%}",
            "unknown" if score.cut_off is None else f"{score.cut_off:.1%}",
        )
    out().print(table)


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """A comparison, for machines."""
    return {
        "verdict": comparison.verdict,
        "arms": [asdict(score) for score in comparison.arms],
        "pairs": [_flat_pair(asdict(pair)) for pair in comparison.pairs],
        "strategies": [_flat_pair(asdict(pair)) for pair in comparison.strategies],
        "findings": [asdict(finding) for finding in comparison.findings],
    }


def show_comparison(comparison: Comparison) -> None:
    """Scores, pairs, findings and what may be said."""
    for table in _comparison_tables(comparison):
        out().print(table)
    _findings(comparison)
    _list("Which solves more?", comparison.verdict)


def _findings(comparison: Comparison) -> None:
    _list("Before you believe the figures", [f"{f.code}: {f.evidence} {f.action}" for f in comparison.findings])


def _comparison_tables(comparison: Comparison) -> list[Table]:
    """Accuracies, then one table a family, as Holm's adjustment goes."""
    tables: dict[str, Table] = {}
    for pair in comparison.pairs:
        if pair.family not in tables:
            tables[pair.family] = _pair_table(f"{pair.family[0].upper()}{pair.family[1:]}")
        tables[pair.family].add_row(*_pair_row(pair))
    return [_accuracies(comparison.arms), *tables.values(), *_strategy_tables(comparison.strategies)]


def _strategy_tables(pairs: Sequence[StrategyPair]) -> list[Table]:
    """Strategies against each other, over seeds and problems."""
    if not pairs:
        return []
    from kdprobe.evaluation.verdict import p_text

    table = _table(
        "Strategies, over seeds and problems (Student's t, Holm)",
        "a - b", "points", "95 % CI", "seeds", "between seeds", "p", "p (Holm)",
    )  # fmt: skip
    for pair in pairs:
        test = pair.test
        table.add_row(
            plain(f"{pair.a} - {pair.b}"),
            f"{test.difference * 100:+.1f}",
            f"{test.interval.low * 100:+.1f} to {test.interval.high * 100:+.1f}",
            f"{test.seeds_a}, {test.seeds_b}",
            f"{test.spread_a * 100:.1f}, {test.spread_b * 100:.1f}",
            p_text(test.p),
            p_text(pair.p_holm),
        )
    return [table]


def _accuracies(scores: Sequence[ArmScore]) -> Table:
    scored = any(score.log_p_gold_value is not None for score in scores)
    table = _table(
        f"Accuracy on the test problems ({scores[0].extractor})",
        "arm", "correct", "accuracy", "95 % CI", *(["log p(gold)"] if scored else []), "cut off", "no answer",
    )  # fmt: skip
    for score in scores:
        log_p = "" if score.log_p_gold_value is None else f"{score.log_p_gold_value:.2f}"
        table.add_row(
            plain(score.name),
            f"{score.correct}/{score.n}",
            f"{score.accuracy:.1%}",
            _points(score.interval),
            *([log_p] if scored else []),
            "unknown" if score.cut_off is None else f"{score.cut_off:.0%}",
            f"{score.no_answer:.0%}",
        )
    return table


def _points(interval: Interval) -> str:
    return f"{interval.low * 100:.1f} to {interval.high * 100:.1f}"


def _pair_table(title: str) -> Table:
    return _table(f"{title} (exact McNemar, Holm)", "a - b", "points", "95 % CI", "only a : b", "p", "p (Holm)")


def _pair_row(pair: Pair) -> list[str | Text]:
    from kdprobe.evaluation.verdict import p_text

    test = pair.test
    return [
        plain(f"{pair.a} - {pair.b}"),
        f"{test.difference * 100:+.1f}",
        f"{test.interval.low * 100:+.1f} to {test.interval.high * 100:+.1f}",
        f"{test.only_a} : {test.only_b}",
        p_text(test.p),
        p_text(pair.p_holm),
    ]


def fidelity_tables(fidelity: dict[str, dict[str, Any]]) -> list[Table]:
    """What the teacher left behind, and how much of it lies outside the top k."""
    if not fidelity:
        return []
    filtered = any(figures["kept"] < figures["responses"] for figures in fidelity.values())
    answers = _table(
        "What the teacher left behind",
        "strategy", "answers", *(["kept"] if filtered else []),
        "right", "cut off", "tokens", "longest", "bytes/token", "tok/s",
    )  # fmt: skip
    borders = (1e-6, 1e-4, 1e-2)
    masses = _table(
        "The teacher's probability, and positions with less than so much outside the top k",
        "strategy", "T", "in the top k", "truncation KL", *(f"<{border:g}" for border in borders),
    )  # fmt: skip
    for strategy, figures in fidelity.items():
        speed = figures["tokens_per_second"]
        answers.add_row(
            plain(strategy),
            str(figures["responses"]),
            *([str(figures["kept"])] if filtered else []),
            f"{figures['accuracy']:.1%}",
            f"{figures['cut_off']:.0%}",
            f"{figures['mean_tokens']:.0f}",
            str(figures["longest"]),
            f"{figures['bytes_per_token']:.0f}",
            f"{speed:.0f}" if speed else "unknown",
        )
        for kept in figures["retained"]:
            masses.add_row(
                plain(strategy),
                f"{kept['temperature']:g}",
                f"{kept['mass']:.3%}",
                f"{kept['truncation_kl']:.1e} nats",
                *(f"{_below(kept['tail_histogram'], border):.1%}" for border in borders),
            )
    return [answers, masses] if masses.row_count else [answers]


def _below(counts: Sequence[int], border: float) -> float:
    """Share of a tail histogram below one of its borders."""
    from kdprobe.transfer.fidelity import TAIL_EDGES

    return sum(counts[: TAIL_EDGES.index(border)]) / sum(counts)


def _flat_pair(pair: dict[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in pair.items() if key != "test"}, **pair["test"]}
