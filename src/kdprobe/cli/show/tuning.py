"""A finished search in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdprobe.cli.show.tables import new_table, print_table, sentence_list
from kdprobe.console.streams import out, plain
from kdprobe.words import counted

if TYPE_CHECKING:
    from kdprobe.experiment.tune.trials import Trial, Tuned

_BEST = 10


def show_tuning(tuned: Tuned) -> None:
    """Prints the best trials, the best options, and what the results support."""
    from kdprobe.experiment.tune.trials import NAMES
    from kdprobe.experiment.tune.tuned_config import options_snippet

    listed = tuned.trials if tuned.current.number is not None else [tuned.current, *tuned.trials]
    # A failed trial has no numbers, so it comes last.
    ranked = sorted(listed, key=lambda trial: (trial.failure is not None, -trial.value(tuned.by)))
    shown = [trial for rank, trial in enumerate(ranked) if rank < _BEST or trial.number == tuned.current.number]
    names = list(tuned.current.choice)
    table = new_table(
        f"Trials of {tuned.study}, best {NAMES[tuned.by]} first, on the validation problems",
        # Broken by hand, because rich would truncate the cells instead.
        "trial", *("T" if name == "temperature" else name.replace("_", "\n") for name in names),
        "accuracy", "log p\n(gold)", "cut\noff",
    )  # fmt: skip
    for trial in shown:
        label = "" if trial.number is None else str(trial.number)
        mark = "*" if trial.number == tuned.current.number else ""
        table.add_row(f"{label}{mark}", *(plain(str(trial.choice[name])) for name in names), *_figures(trial))
    print_table(table)
    out().print("* The current options, from the config.")
    if len(listed) > len(shown):
        out().print(f"Not shown: {counted(len(listed) - len(shown), 'more trial')}; --json lists them all.")
    failed = [trial for trial in ranked if trial.failure]
    sentence_list("Failed", [f"{'*' if t.number is None else t.number}: {t.failure}" for t in failed])
    sentence_list("Verdict", tuned.verdict())
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
