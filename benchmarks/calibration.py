"""How often kdprobe's tests are wrong if there is no effect, how often intervals contain the true value, and power.

    python benchmarks/calibration.py [--replications 4000] [--workers 2] [--only one-seed crossed ...]

Students are drawn from a model of correct and wrong answers, on the log-odds scale: a problem has a difficulty, a
strategy is better at some problems than at others, a seed makes a student better or worse, and that student is lucky
or unlucky with single problems. Every number is a percentage with a Monte Carlo standard error of at most
50 / sqrt(replications) points: about 0.35 near 5% with 4,000.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom, multinomial, t

from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.clustered import Groups, clustered_accuracy_interval, clustered_test
from kdprobe.stats.crossed import crossed_estimate, crossed_test
from kdprobe.stats.mcnemar import paired_interval
from kdprobe.stats.power import detectable_difference

Answers = NDArray[np.float32]
CHUNK = 250
RESAMPLES = 400


@dataclass(frozen=True)
class Side:
    """A strategy: its expected accuracy, and the spread of its seeds' expected accuracies, both as shares."""

    accuracy: float
    seed_spread: float = 0.0
    seeds: int = 3


@dataclass(frozen=True)
class World:
    """What two strategies share.

    Attributes:
        n: Problems.
        groups: Groups of problems; 0 if problems are independent.
        uneven: Whether group sizes fall as 1, 1/2, 1/3, and so on, rather than being equal.
        difficulty: Standard deviation over problems, log-odds.
        suits: Of a strategy at single problems, log-odds.
        luck: Of a student at single problems, log-odds, in addition to the draw of each answer with the odds it has.
        by_group: How much of the variance of difficulty, suits and luck belongs to the group.
        same_seeds: Correlation of the seeds of both strategies with the same number.
    """

    n: int
    groups: int = 0
    uneven: bool = False
    difficulty: float = 2.0
    suits: float = 0.5
    luck: float = 1.0
    by_group: float = 0.0
    same_seeds: float = 0.0

    @property
    def codes(self) -> NDArray[np.intp]:
        """Each problem's group."""
        if self.uneven:
            return np.repeat(np.arange(self.groups), uneven_sizes(self.n, self.groups))
        return np.arange(self.n) * (self.groups or self.n) // self.n

    def draw(self, random: np.random.Generator, count: int, a: Side, b: Side) -> tuple[Answers, Answers]:
        """Answers [count, seeds, n] of both strategies' students."""
        hard = self.difficulty * self._noise(random, (count, 1))
        shared = random.standard_normal((count, max(a.seeds, b.seeds), 1), dtype=np.float32)
        answers = []
        for side in (a, b):
            level, spread = scale(side.accuracy, side.seed_spread, self.within)
            own = random.standard_normal((count, side.seeds, 1), dtype=np.float32)
            seeds = np.sqrt(self.same_seeds) * shared[:, : side.seeds] + np.sqrt(1 - self.same_seeds) * own
            odds = level + hard + spread * seeds + self.suits * self._noise(random, (count, 1))
            odds = odds + self.luck * self._noise(random, (count, side.seeds))
            answers.append((random.random(odds.shape, dtype=np.float32) < expit(odds)).astype(np.float32))
        return answers[0], answers[1]

    @property
    def within(self) -> float:
        """Standard deviation of the log-odds of one student over problems."""
        return float(np.sqrt(self.difficulty**2 + self.suits**2 + self.luck**2))

    def _noise(self, random: np.random.Generator, shape: tuple[int, int]) -> Answers:
        alone = random.standard_normal((*shape, self.n), dtype=np.float32)
        if not self.groups:
            return alone
        together = random.standard_normal((*shape, self.groups), dtype=np.float32)[..., self.codes]
        return (np.sqrt(1 - self.by_group) * alone + np.sqrt(self.by_group) * together).astype(np.float32)


def uneven_sizes(n: int, groups: int) -> NDArray[np.intp]:
    """Sizes in proportion to 1, 1/2, 1/3, and so on, at least 1, n in all."""
    ranks = 1 / np.arange(1, groups + 1)
    sizes = np.maximum(1, np.rint(n * ranks / ranks.sum())).astype(np.intp)
    sizes[0] += n - sizes.sum()
    return sizes


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@cache
def scale(accuracy: float, seed_spread: float, within: float) -> tuple[float, float]:
    """Level and spread of seeds in log-odds that give this accuracy and this spread of seeds' expected accuracies."""

    def level(spread: float) -> float:
        total = np.hypot(within, spread)
        return float(brentq(lambda start: WEIGHTS @ expit(start + total * NODES) - accuracy, -50, 50))

    def spread_of(spread: float) -> float:
        expected = expit(level(spread) + spread * NODES[:, None] + within * NODES) @ WEIGHTS
        return float(np.sqrt(WEIGHTS @ (expected - WEIGHTS @ expected) ** 2))

    if not seed_spread:
        return level(0.0), 0.0
    found = float(brentq(lambda spread: spread_of(spread) - seed_spread, 1e-6, 5))
    return level(found), found


def mcnemar(a: Answers, b: Answers) -> NDArray[np.float64]:
    """Exact p of two students each, [count, n]."""
    only_a, only_b = (a > b).sum(-1), (b > a).sum(-1)
    return np.minimum(1.0, 2 * binom.cdf(np.minimum(only_a, only_b), only_a + only_b, 0.5))


def percentile(random: np.random.Generator, a: Answers, b: Answers) -> NDArray[np.float64]:
    """The naive interval [2, count]: seeds of each side and problems resampled, percentiles of the difference."""
    n = a.shape[-1]
    problems = random.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float32).T / n
    means = []
    for side in (a, b):
        seeds = side.shape[-2]
        chosen = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES).T / seeds
        means.append(((side @ problems) * chosen).sum(-2))
    return np.quantile(means[0] - means[1], [0.025, 0.975], axis=-1)


def crossed(a: Answers, b: Answers, groups: Groups) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The p [count] of kdprobe, and its interval [2, count]."""
    estimate = crossed_estimate(a.astype(float), b.astype(float), groups)
    varies = estimate.error > 0
    error = np.where(varies, estimate.error, 1.0)
    p = 2 * t.sf(np.abs(estimate.difference) / error, estimate.df)
    interval = estimate.difference + np.array([[-1], [1]]) * t.ppf(0.975, estimate.df) * error
    for place in np.flatnonzero(~varies):
        single = crossed_test(a[place], b[place])
        p[place], interval[:, place] = single.p, (single.interval.low, single.interval.high)
    return p, interval


@dataclass(frozen=True)
class Cell:
    """One line of a table."""

    world: World
    a: Side
    b: Side
    naive: bool = True
    by_group: bool = False


def rates(cell: Cell, replications: int, seed: Sequence[int]) -> dict[str, float]:
    """Percentages: how often each test rejects, and how often the intervals contain the true difference."""
    random = np.random.default_rng(list(seed))
    groups = Groups((cell.world.codes if cell.by_group else np.arange(cell.world.n)).tolist())
    truth = cell.a.accuracy - cell.b.accuracy
    found: dict[str, list[NDArray[Any]]] = {}
    for _ in range(max(1, replications // CHUNK)):
        a, b = cell.world.draw(random, CHUNK, cell.a, cell.b)
        p, interval = crossed(a, b, groups)
        told = {
            "mcnemar": mcnemar(a[:, 0], b[:, 0]) < 0.05,
            "kdprobe": p < 0.05,
            "kdprobe holds": (interval[0] <= truth) & (truth <= interval[1]),
            "width": (interval[1] - interval[0]) / 2,
            "spread": a.mean(-1).std(-1, ddof=1),
            "discordant": (a[:, 0] != b[:, 0]).mean(-1),
        }
        if cell.naive:
            low, high = percentile(random, a, b)
            told |= {"bootstrap": (low > 0) | (high < 0), "bootstrap holds": (low <= truth) & (truth <= high)}
        for name, values in told.items():
            found.setdefault(name, []).append(values)
    return {name: float(np.mean(values)) * 100 for name, values in found.items()}


def one_seed(run: Run) -> None:
    """Single-seed McNemar at n = 1,319 without a true effect."""
    print("\n## One seed: how often McNemar's exact test calls two students of equal strategies different, n = 1,319\n")
    table = [
        Cell(World(1319, difficulty=hard, suits=0.0), Side(accuracy, spread), Side(accuracy, spread), naive=False)
        for accuracy, hard, spread in product((0.05, 0.4), (2.0, 0.5), (0.0, 0.01, 0.017, 0.03))
    ]
    header("accuracy", "SD of seeds, points", "discordant %", "observed SD of seeds, points", "McNemar rejects %")
    for cell, told in zip(table, run.all(table), strict=True):
        row(cell.a.accuracy, cell.a.seed_spread * 100, told["discordant"], told["spread"], told["mcnemar"])


def no_effect(run: Run) -> None:
    """The grid without a true effect."""
    print("\n## Seeds crossed with problems: false positives, %\n")
    spreads, counts, sizes, accuracies = (0.0, 0.017, 0.03), (3, 4, 5, 10), (80, 319, 1319), (0.05, 0.15, 0.4, 0.8)
    grid = list(product(counts, spreads, sizes, accuracies))
    table = [Cell(World(n), Side(x, spread, seeds), Side(x, spread, seeds)) for seeds, spread, n, x in grid]
    told = dict(zip(grid, run.all(table), strict=True))
    header(
        "seeds", "SD of seeds", "n", "accuracy", "McNemar, one seed", "naive bootstrap", "kdprobe", "half width, points"
    )
    for (seeds, spread, n, x), one in told.items():
        row(seeds, spread * 100, n, x, one["mcnemar"], one["bootstrap"], one["kdprobe"], one["width"])
    print("\nLowest to highest over n and accuracies:\n")
    header("seeds", "SD of seeds, points", "McNemar, one seed", "naive bootstrap", "kdprobe")
    for seeds, spread in product(counts, spreads):
        these = [told[seeds, spread, n, x] for n, x in product(sizes, accuracies)]
        ranges = [[one[way] for one in these] for way in ("mcnemar", "bootstrap", "kdprobe")]
        row(seeds, spread * 100, *[f"{min(values):.1f} to {max(values):.1f}" for values in ranges])


def harder(run: Run) -> None:
    """False positives in settings that strain the assumptions."""
    print("\n## Seeds crossed with problems: false positives in harder settings, %\n")
    even = Side(0.4, 0.017)
    cases = {
        "strategies good at the same problems": (World(319, suits=0.0), even, even),
        "strategies good at very different problems": (World(319, suits=1.5), even, even),
        "the same, no spread of seeds": (World(80, suits=1.5), Side(0.4, 0.0, 5), Side(0.4, 0.0, 5)),
        "problems of similar difficulty": (World(319, difficulty=0.5), even, even),
        "problems of very different difficulty": (World(319, difficulty=4.0), even, even),
        "20 problems": (World(20), even, even),
        "20 problems, accuracy 0.1": (World(20), Side(0.1), Side(0.1)),
        "spread of seeds 0 and 3 points": (World(319), Side(0.4, 0.03), Side(0.4)),
        "3 and 10 seeds": (World(319), even, replace(even, seeds=10)),
        "3 seeds with spread 3, 10 with 0": (World(319), Side(0.4, 0.03), Side(0.4, 0.0, 10)),
        "the same, strategies good at different problems": (World(319, suits=1.0), Side(0.4, 0.03), Side(0.4, 0.0, 10)),
        "3 seeds with spread 0, 10 with 3": (World(319), Side(0.4), Side(0.4, 0.03, 10)),
        "5 seeds against one student without a seed": (World(319), Side(0.4, 0.017, 5), Side(0.4, 0.0, 1)),
        "3 seeds against one student without a seed": (World(319), even, Side(0.4, 0.0, 1)),
        "equal seed numbers correlated by 0.5": (World(1319, same_seeds=0.5), even, even),
        "equal seed numbers correlated by 0.9": (World(1319, same_seeds=0.9), even, even),
    }
    header("case", "McNemar, one seed", "naive bootstrap", "kdprobe")
    for name, told in zip(cases, run.all([Cell(*case) for case in cases.values()]), strict=True):
        row(name, told["mcnemar"], told["bootstrap"], told["kdprobe"])


def effect(run: Run) -> None:
    """Coverage and power with a true effect."""
    print("\n## Seeds crossed with problems: with a true effect, the weaker strategy at 0.4\n")
    grid = list(product((319, 1319), (0.0, 0.017), (3, 5, 10), (0.02, 0.05, 0.1)))
    table = [Cell(World(n), Side(0.4 + gain, spread, s), Side(0.4, spread, s)) for n, spread, s, gain in grid]
    header(
        "n",
        "SD of seeds",
        "seeds",
        "effect, points",
        "power %",
        "interval holds it, %",
        "naive bootstrap's holds it, %",
    )
    for (n, spread, seeds, gain), told in zip(grid, run.all(table), strict=True):
        row(n, spread * 100, seeds, gain * 100, told["kdprobe"], told["kdprobe holds"], told["bootstrap holds"])


def grouped_seeds(run: Run) -> None:
    """False positives when problems come in groups."""
    grid = list(product((4, 8, 20, 100), (0.0, 0.017), (3, 5, 10)))
    for uneven in (False, True):
        sizes = "uneven" if uneven else "equal"
        print(f"\n## Seeds crossed with groups of {sizes} size: false positives, %; 320 problems, accuracy 0.4\n")
        table = [
            Cell(World(320, groups, uneven, suits=1.0, by_group=0.5), side, side, naive=False, by_group=by_group)
            for groups, spread, s in grid
            for side in [Side(0.4, spread, s)]
            for by_group in (False, True)
        ]
        told = run.all(table)
        header("groups", "SD of seeds", "seeds", "problems as independent", "by group", "half width by group, points")
        for (groups, spread, seeds), alone, by_group in zip(grid, told[::2], told[1::2], strict=True):
            row(groups, spread * 100, seeds, alone["kdprobe"], by_group["kdprobe"], by_group["width"])


def cluster_rates(sizes: Sequence[int], suits: float, replications: int, seed: int) -> dict[str, float]:
    """Percentages for two single students on groups of these sizes, without a true effect."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    names, weights = codes.tolist(), np.asarray(sizes)
    truth = scale(0.4, 0.0, float(np.sqrt(1.5**2 + suits**2 + 1)))[0]
    shape = (replications, len(sizes))
    odds = truth + random.normal(0, 1.5, shape)[:, codes] + random.normal(0, 1, (replications, len(codes)))
    a, b = (random.random(odds.shape) < expit(odds + random.normal(0, suits, shape)[:, codes]) for _ in range(2))
    told: dict[str, list[bool]] = {name: [] for name in ("mcnemar", "bootstrap", "t", "flip", "accuracy", "wilson")}
    told["mcnemar"] = list(mcnemar(a, b) < 0.05)
    for left, right in zip(a, b, strict=True):
        test = clustered_test(left, right, names)
        told["t"].append(not test.interval.low <= 0 <= test.interval.high)
        told["flip"].append(test.p < 0.05)
        totals = np.bincount(codes, left.astype(float) - right)
        chosen = random.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=RESAMPLES)
        low, high = np.quantile(chosen @ totals / (chosen @ weights), [0.025, 0.975])
        told["bootstrap"].append(not low <= 0 <= high)
        own = clustered_accuracy_interval(left, names)
        told["accuracy"].append(own.low <= 0.4 <= own.high)
    return {name: float(np.mean(values)) * 100 for name, values in told.items() if values}


def groups_alone(run: Run) -> None:
    """False positives of two single students."""
    print("\n## Two students on groups of problems: false positives, %; about 320 problems, accuracy 0.4\n")
    lines = []
    for count, suits in product((4, 8, 20, 100), (0.0, 1.0)):
        lines += [(count, "equal", suits, [320 // count] * count)]
        lines += [(count, "uneven", suits, uneven_sizes(320, count).tolist())]
    header(
        "groups",
        "sizes",
        "good at templates",
        "McNemar",
        "cluster bootstrap",
        "t",
        "sign flip",
        "accuracy's interval holds, %",
    )
    work = [
        partial(cluster_rates, sizes, suits, run.replications, number)
        for number, (*_, suits, sizes) in enumerate(lines)
    ]
    for (count, name, suits, _), told in zip(lines, run.map(work), strict=True):
        row(count, name, suits, told["mcnemar"], told["bootstrap"], told["t"], told["flip"], told["accuracy"])


def few_discordant(_: Run) -> None:
    """Exact coverage of the paired interval, by summing over all outcomes: no Monte Carlo."""
    print("\n## Interval of two students' difference with few discordant problems: exact coverage, %\n")
    n, most = 319, 45
    outcomes = [(a, b) for a in range(most) for b in range(most)]
    counts = np.array([(a, b, n - a - b) for a, b in outcomes])
    ways: dict[str, Callable[[int, int], Any]] = {
        "bootstrap": lambda a, b: mean_interval(np.repeat([1.0, -1.0, 0.0], [a, b, n - a - b])),
        "kdprobe": lambda a, b: paired_interval(a, b, n),
    }
    told = {way: [interval(a, b) for a, b in outcomes] for way, interval in ways.items()}
    header("expected discordant problems", "share that a solved", "bootstrap", "kdprobe")
    for expected, share in product((0.5, 1, 2, 3, 5, 8, 12, 20), (0.5, 0.8, 1.0)):
        a, b = expected * share / n, expected * (1 - share) / n
        chance = multinomial.pmf(counts, n, [a, b, 1 - a - b])
        held = [
            100 * sum(p for p, one in zip(chance, told[way], strict=True) if one.low - 1e-9 <= a - b <= one.high + 1e-9)
            for way in ways
        ]
        row(expected, share, *held)


def detectable(run: Run) -> None:
    """The smallest detectable difference, and how often simulated tests find it."""
    print("\n## Smallest difference that McNemar's exact test detects with 80% power\n")
    random = np.random.default_rng(0)
    header("n", "discordant share", "smallest difference, points", "detected in simulation, %")
    for n, share in product((20, 80, 319, 1319), (0.05, 0.1, 0.3)):
        apart = detectable_difference(n, share)
        if apart is None:
            row(n, share, "none", "")
            continue
        drawn = random.multinomial(n, [(share + apart) / 2, (share - apart) / 2, 1 - share], size=20 * run.replications)
        p = np.minimum(1.0, 2 * binom.cdf(drawn[:, :2].min(1), drawn[:, :2].sum(1), 0.5))
        row(n, share, apart * 100, float((p < 0.05).mean()) * 100)


class Run:
    """Draws cells, in several processes."""

    def __init__(self, replications: int, pool: ProcessPoolExecutor) -> None:
        self.replications = replications
        self._pool = pool

    def all(self, cells: Sequence[Cell]) -> list[dict[str, float]]:
        """The rates of all cells, in order."""
        return self.map(partial(rates, cell, self.replications, (0, place)) for place, cell in enumerate(cells))

    def map(self, work: Iterable[Callable[[], dict[str, float]]]) -> list[dict[str, float]]:
        """The results of all calls, in order."""
        return [job.result() for job in [self._pool.submit(one) for one in work]]


PARTS = {
    "one-seed": one_seed,
    "crossed": no_effect,
    "harder": harder,
    "effect": effect,
    "crossed-groups": grouped_seeds,
    "groups": groups_alone,
    "few-discordant": few_discordant,
    "detectable": detectable,
}


def header(*names: str) -> None:
    """The head of a Markdown table."""
    print("| " + " | ".join(names) + " |\n|" + " --- |" * len(names))


def row(*values: object) -> None:
    """A line of a Markdown table."""
    print("| " + " | ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values) + " |")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=4000, help=f"in steps of {CHUNK}")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    started = time.perf_counter()
    with ProcessPoolExecutor(given.workers) as pool:
        for name in given.only:
            PARTS[name](Run(given.replications, pool))
            sys.stdout.flush()
    print(f"\n{given.replications} replications, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
