"""Screens of all heads, judged by the exact effects of all heads.

    python benchmarks/screens.py [--problems 4] [--size 0.25] [--threads 1] [--memory] [--json FILE]

Replaces each of the 270 heads of SmolLM2-135M-Instruct, and of the student that `kdprobe:embedded-teacher` makes of it,
as `ablation` does (with its mean) and as `patching` does (with the other student's output), in float32, on short
procedural problems of different templates. The exact changes in log p(gold solution) are compared with the estimates of
screens, each from one backward pass:

    gradient    attribution patching: plain gradients
    norms       the scales of norms are constants
    relp        RelP: also ratios of activations and attention patterns are, and factors of gated MLPs get half each
    relp-qk     RelP, but with the plain gradient of attention patterns
    gim         GIM: scales of norms are constants, softmax's gradient is at temperature 2, factors share gradients

Measures are Spearman's and Pearson's correlation over heads, the share of wrong signs among heads whose exact effect
is at least `--size` nats, and which share of the true top 10 is among the screen's first 10 and first 30, in the order
in which the analysis ranks heads. Each is given for the mean effects over problems, which is what the analyses rank by;
after the bar for single problems: its mean, and the difference from `gradient` with a 95% interval over problems.
Seconds are summed over all settings, which take the screens in rotating order. With `--memory`, each screen also runs
in a separate process, whose peak above what it held before is printed (Linux).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from backward_rules import GIM, RELP, Rules, backward_rules
from peak_memory import peak_in_child, peak_of
from result_file import write_result
from scipy.stats import pearsonr, spearmanr

from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.intervals import NO_INTERVAL, Interval

MODEL = "smollm2-135m-instruct"
ADAPTER = "kdprobe:embedded-teacher"
TEMPLATES = [43, 10, 16, 6, 48, 18, 58, 69]
TOP, WIDE = 10, 30
SCREENS = ("gradient", "norms", "relp", "relp-qk", "gim")
MEASURES = ("spearman", "pearson", "wrong signs", "top 10", "top 30")


@dataclass(frozen=True)
class Compared:
    """A measure's mean over problems, and its difference from that of plain gradients with its interval."""

    value: float
    difference: float
    interval: Interval

    def __str__(self) -> str:
        difference = f" {self.difference:+.2f}" if self.difference else ""
        interval = f" ({self.interval.low:+.2f} to {self.interval.high:+.2f})" if self.interval.known else ""
        return f"{self.value:.2f}{difference}{interval}"


def main() -> None:
    """Prints a table per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=4)
    parser.add_argument("--size", type=float, default=0.25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", choices=SCREENS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    bench = Bench(given.problems)
    if given.memory_of:
        print(peak_of(lambda: bench.screened(given.memory_of, "ablation of the base")))
        return
    lengths = [len(sequence.ids) - 1 for sequence in bench.sequences]
    print(f"{len(lengths)} problems of {lengths} tokens, {bench.layers * bench.heads} heads")
    result: dict[str, Any] = {"tokens": lengths, "size": given.size, "settings": {}}
    seconds = dict.fromkeys(SCREENS, 0.0)
    for index, setting in enumerate(bench.settings):
        result["settings"][setting] = judged(bench, setting, given.size, (*SCREENS[index:], *SCREENS[:index]), seconds)
    result["seconds"] = seconds
    ratios = (f"{screen} {taken:.1f} ({taken / seconds['gradient']:.2f})" for screen, taken in seconds.items())
    print("\nseconds (ratio to gradient):", ", ".join(ratios))
    if given.memory:
        same = (f"--problems={given.problems}", f"--threads={given.threads}")
        result["mebibytes"] = {screen: peak_in_child(__file__, *same, "--memory-of", screen) for screen in SCREENS}
        print("peak MiB:", ", ".join(f"{screen} {peak:.0f}" for screen, peak in result["mebibytes"].items()))
    if given.json:
        write_result(given.json, result)


class Bench:
    """The two students, what they read, and who replaces whose heads."""

    def __init__(self, problems: int) -> None:
        from kdprobe.console import progress
        from kdprobe.host.registry import Host
        from kdprobe.models.adapters import resolve_adapter
        from kdprobe.models.load import load_tokenizer
        from kdprobe.models.reference import resolve
        from kdprobe.probing.interventions.forward import head_outputs, reader
        from kdprobe.probing.interventions.replacement import ablated, patched
        from kdprobe.problems.draw import draw
        from kdprobe.students.sequence import problem_sequences
        from kdprobe.students.student import Student

        record = resolve(MODEL)
        source = Host().create("problem-sources", "gsm-symbolic", {"templates": TEMPLATES})
        drawn = draw(source, transfer=1, test=problems)
        self.sequences = problem_sequences(load_tokenizer(record), drawn.test)
        base = Student("base", record).load(dtype="float32")
        student = Student("student", record, resolve_adapter(ADAPTER).path).load(dtype="float32")
        outputs = []
        for loaded in (base, student):
            with reader(loaded) as reading, progress("Reading", problems) as bar:
                outputs.append(head_outputs(reading, self.sequences, bar=bar))
        of_base, of_student = outputs
        self.layers, self.heads = of_base.matrices.shape[:2]
        gain = 1 if float((of_student.log_p - of_base.log_p)[:, 0].mean()) >= 0 else -1
        # The student, the donor, and the sign of the effects that come first.
        self.settings: dict[str, tuple[Any, Any, int]] = {
            "ablation of the base": (base, ablated(of_base, "mean"), -1),
            "ablation of the student": (student, ablated(of_student, "mean"), -1),
            "patching into the base": (base, patched(of_student), gain),
            "patching into the student": (student, patched(of_base), -gain),
        }

    def exact(self, setting: str) -> Any:
        """Exact effects, `[problem, head]`, in nats."""
        from kdprobe.console import progress
        from kdprobe.probing.interventions.exact_effects import exact_effects
        from kdprobe.probing.interventions.forward import reader

        loaded, donor, _ = self.settings[setting]
        every = [(layer, head) for layer in range(self.layers) for head in range(self.heads)]
        with reader(loaded) as reading, progress(f"Exact: {setting}", len(self.sequences)) as bar:
            found = exact_effects(reading, self.sequences, donor, every, batch_size=self.heads, bar=bar)
        return found[..., 0].numpy()

    def screened(self, screen: str, setting: str) -> Any:
        """Effects that a screen estimates, `[problem, head]`."""
        from kdprobe.console import progress
        from kdprobe.probing.interventions.attribution_patching import screened_effects
        from kdprobe.probing.interventions.forward import reader

        loaded, donor, _ = self.settings[setting]
        with (
            reader(loaded) as reading,
            progress(f"{screen}: {setting}", len(self.sequences)) as bar,
            backward_rules(loaded.model, reading.anatomy, rules_of(screen)),
        ):
            found = screened_effects(reading, self.sequences, donor, bar=bar)
        return found[..., 0].flatten(1).numpy()


def rules_of(screen: str) -> Rules:
    """How a screen changes gradients."""
    return {
        "gradient": Rules(),
        "norms": Rules(norms=True),
        "relp": RELP,
        "relp-qk": replace(RELP, patterns=1.0),
        "gim": GIM,
    }[screen]


def judged(
    bench: Bench, setting: str, size: float, order: tuple[str, ...], seconds: dict[str, float]
) -> dict[str, Any]:
    """Judges and prints all screens of a setting, in this order, and adds up what they take."""
    started = time.perf_counter()
    exact, sign = bench.exact(setting), bench.settings[setting][2]
    exact_seconds = time.perf_counter() - started
    estimates = {}
    for screen in order:
        started = time.perf_counter()
        estimates[screen] = bench.screened(screen, setting)
        seconds[screen] += time.perf_counter() - started
    mean = exact.mean(axis=0)
    quantiles = ", ".join(f"{value:.2f}" for value in np.quantile(np.abs(mean), [0.5, 0.9, 1]))
    print(f"\n{setting}: exact effects took {exact_seconds:.0f} s; median, 90% and largest size {quantiles} nats;")
    print(f"{int((np.abs(mean) >= size).sum())} heads have {size:g} nats or more")
    print(f"{'':<10}" + "".join(f"{name:<38}" for name in MEASURES))
    of_means = {screen: measures(mean, estimates[screen].mean(axis=0), sign, size) for screen in SCREENS}
    by_problem = {
        screen: np.array([measures(*pair, sign, size) for pair in zip(exact, estimates[screen], strict=True)])
        for screen in SCREENS
    }
    for screen in SCREENS:
        both = zip(of_means[screen], compared(by_problem, screen), strict=True)
        print(f"{screen:<10}" + "".join(f"{f'{value:.2f} | {each}':<38}" for value, each in both))
    print(flush=True)
    return {
        "exact_seconds": exact_seconds,
        "of_means": of_means,
        "by_problem": {screen: each.tolist() for screen, each in by_problem.items()},
        "exact": exact.tolist(),
        "estimates": {screen: each.tolist() for screen, each in estimates.items()},
    }


def measures(exact: Any, estimate: Any, sign: int, size: float) -> list[float]:
    """A screen's agreement with exact effects, `[head]` each, in the order of `MEASURES`; NaN without large effects."""
    large = np.abs(exact) >= size
    wrong = float((np.sign(exact) != np.sign(estimate))[large].mean()) if large.any() else float("nan")
    true, screened = (np.argsort(-sign * each) for each in (exact, estimate))
    found = [len(set(true[:TOP]) & set(screened[:count])) / TOP for count in (TOP, WIDE)]
    return [float(spearmanr(exact, estimate).statistic), float(pearsonr(exact, estimate).statistic), wrong, *found]


def compared(by_problem: dict[str, Any], screen: str) -> list[Compared]:
    """Every measure's mean over problems, and its difference from that of `gradient` with an interval."""
    found = []
    for own, plain in zip(by_problem[screen].T, by_problem["gradient"].T, strict=True):
        both = ~np.isnan(own)
        difference = own[both] - plain[both]
        interval = mean_interval(difference) if both.sum() > 1 else NO_INTERVAL
        found.append(Compared(float(np.nanmean(own)), float(np.mean(difference)), interval))
    return found


if __name__ == "__main__":
    main()
