"""How often the leak audit finds something where primed and unprimed students do not differ, by simulation.

    python benchmarks/leaks.py [--repetitions 2000] [--jobs 2] [--json FILE]

Four primed arms are compared with an unprimed one on three kinds of phrases and on quotes, 16 tests adjusted by Holm.
Answers to the same problem are correlated between all students. At least one finding should occur in at most 5% of the
repetitions, up to two standard errors of the simulation; exits with 1 if not. If students of different seeds differ in
how often they hedge, this holds with three seeds or more; with a single one the audit finds such students, which is
shown but not counted. The last rows are of an arm that leaks: how often that is found, in a quarter of the repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product, repeat
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray
from result_file import write_result
from simulation import exit_above_level, options

from kdprobe.comparison.leaks.quote_test import quote_test
from kdprobe.stats.intervals import NO_INTERVAL
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.stats.rates.more_often import MoreOften, swapped_p
from kdprobe.stats.rates.over_students import over_students

ARMS, KINDS, GRAMS = 4, 3, 12
"""Primed arms, kinds of phrases, and runs of words in a priming."""
TESTS = ARMS * (KINDS + 1)


class Setting(NamedTuple):
    """One simulated experiment.

    Attributes:
        problems: Number of problems.
        rate: How often an answer shows a kind of phrase, or any run of words of the priming.
        correlation: Correlation between students' answers to the same problem, on the latent normal scale.
        seeds: Students per arm.
        spread: Standard deviation between students on the latent scale, on which answers vary by 1.
    """

    problems: int
    rate: float
    correlation: float
    seeds: int
    spread: float = 0.0


SETTINGS = [
    Setting(problems, rate, correlation, seeds)
    for problems in (40, 120, 400)
    for rate in (0.005, 0.05, 0.4)
    for correlation in (0.0, 0.6)
    for seeds in (1, 3)
]
SPREADS = [Setting(200, rate, 0.3, seeds, 0.3) for rate in (0.02, 0.2) for seeds in (1, 3, 5)]


def main() -> None:
    """Prints a row per setting, and says whether all are within 5%."""
    parser = options(__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes; the result does not depend on their number")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("| problems | rate | correlation | seeds | between students | at least one finding |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    settings = [*SETTINGS, *SPREADS]
    with ProcessPoolExecutor(given.jobs) as pool:
        shares = pool.map(_seeded_false_alarms, settings, repeat(given.repetitions))
        for setting, share in zip(settings, shares, strict=True):
            rows.append({**setting._asdict(), "share": share})
            print(f"| {' | '.join(f'{value:g}' for value in setting)} | {share:.1%} |", flush=True)
    print("\n| leak | problems | seeds | found |\n| --- | --- | --- | --- |", flush=True)
    for seeds, leak in product((1, 3), (hedging_found, quotes_found)):
        setting = Setting(200, 0.03, 0.3, seeds)
        random = np.random.default_rng(seeds)
        found = [_is_found(leak(random, setting)) for _ in range(given.repetitions // 4)]
        rows.append({"leak": leak.__name__, "seeds": seeds, "found": sum(found) / len(found)})
        print(f"| {leak.__name__.partition('_')[0]} | 200 | {seeds} | {rows[-1]['found']:.1%} |", flush=True)
    if given.json:
        write_result(given.json, {"repetitions": given.repetitions, "rows": rows})
    counted = [row["share"] for row in rows if "share" in row and not (row["spread"] and row["seeds"] == 1)]
    exit_above_level(counted, given.repetitions, "Something is found")


def _seeded_false_alarms(setting: Setting, repetitions: int) -> float:
    """The same for each setting, whichever process it runs in."""
    return false_alarms(np.random.default_rng([*SETTINGS, *SPREADS].index(setting)), setting, repetitions)


def false_alarms(random: np.random.Generator, setting: Setting, repetitions: int) -> float:
    """The share of repetitions with a finding, though all students are trained alike."""
    return sum(_is_found(min(_null_p(random, setting))) for _ in range(repetitions)) / repetitions


def _is_found(smallest: float) -> bool:
    """Whether the smallest p of the family is significant: Holm's adjustment multiplies it by the number of tests."""
    return smallest * TESTS < SIGNIFICANT


def _null_p(random: np.random.Generator, setting: Setting) -> Iterator[float]:
    """The p-values of all arms and kinds in one experiment without a leak."""
    for _ in range(KINDS):
        yield from (test.p for test in _phrase_tests(*shows(random, setting, ARMS + 1)))
    yield from (test.p for test in _quote_tests([runs(random, setting) for _ in range(ARMS)]))


def _phrase_tests(unprimed: NDArray[np.bool_], *primed: NDArray[np.bool_]) -> list[MoreOften]:
    """The tests of one kind of phrase, all against the same unprimed answers."""
    return over_students([_test(arm, unprimed) for arm in primed], [(arm, "unprimed") for arm in range(len(primed))])


def _quote_tests(sides: Sequence[NDArray[np.bool_]]) -> list[MoreOften]:
    """The tests of quotes, of another priming in each arm; from the runs of the primed and the unprimed answers."""
    names = [((arm, "primed"), (arm, "unprimed")) for arm in range(len(sides))]
    return over_students([_quotes(*each) for each in sides], names)


def _test(a: NDArray[np.bool_], b: NDArray[np.bool_], p: float | None = None) -> MoreOften:
    """The same as `more_often`, without the interval, which takes most of the time."""
    rates_a, rates_b = (tuple(side.mean(axis=1).tolist()) for side in (a, b))
    return MoreOften(a.shape[1], rates_a, rates_b, NO_INTERVAL, swapped_p(a, b) if p is None else p)


def _quotes(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> MoreOften:
    found = quote_test(a, b)
    return _test(found.a.any(axis=-1), found.b.any(axis=-1), found.p)


def shows(random: np.random.Generator, setting: Setting, arms: int) -> NDArray[np.bool_]:
    """Whether each answer shows a kind of phrase, `[arms, seeds, problems]`."""
    return _answers(random, setting, (arms, setting.seeds), setting.rate)


def runs(random: np.random.Generator, setting: Setting) -> NDArray[np.bool_]:
    """Which runs of words the answers of two arms contain, `[2, seeds, problems, runs]`; some are ten times as rare."""
    rates = setting.rate * np.geomspace(1, 0.1, GRAMS)
    rates *= setting.rate / rates.sum()
    return np.stack([_answers(random, setting, (2, setting.seeds), rate) for rate in rates], axis=-1)


def _answers(
    random: np.random.Generator, setting: Setting, students: tuple[int, int], rate: float
) -> NDArray[np.bool_]:
    """Latent normal values above a threshold, with parts for the problem, the student and the answer."""
    problem = random.normal(size=setting.problems) * math.sqrt(setting.correlation)
    student = random.normal(scale=setting.spread, size=(*students, 1))
    answer = random.normal(size=(*students, setting.problems)) * math.sqrt(1 - setting.correlation)
    threshold = scipy.stats.norm.isf(rate) * math.sqrt(1 + setting.spread**2)
    return np.asarray(problem + student + answer > threshold)


def hedging_found(random: np.random.Generator, setting: Setting) -> float:
    """The p-value of an arm that hedges in 15% of its answers besides those that do anyway."""
    unprimed, *primed = shows(random, setting, ARMS + 1)
    primed[0] |= random.random(unprimed.shape) < 0.15
    return _phrase_tests(unprimed, *primed)[0].p


def quotes_found(random: np.random.Generator, setting: Setting) -> float:
    """The p-value of an arm that quotes three runs of its priming in 10% of its answers."""
    primed, unprimed = runs(random, setting)
    leaking = random.random(primed.shape[:2]) < 0.1
    start = random.integers(0, GRAMS - 2)
    primed[..., start : start + 3] |= leaking[..., None]
    others = [runs(random, setting) for _ in range(ARMS - 1)]
    return _quote_tests([np.stack([primed, unprimed]), *others])[0].p


if __name__ == "__main__":
    main()
