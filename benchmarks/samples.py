"""How often equal arms with several samples per problem are called different, by simulation.

    python benchmarks/samples.py [--repetitions 2000] [--json FILE]

Problems differ in difficulty, and each arm finds some of them easier or harder by chance; over problems, the arms are
equally good. Answers to a problem are alike, so the problem is the unit: of the means over samples, of pass@k and
maj@k, and of strategies with three seeds, at most 5% should be significant, up to two standard errors of the
simulation. Exits with 1 if not. For contrast: McNemar's test of the answers paired by their numbers, as if each were a
problem of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from result_file import write_result
from simulation import exit_above_level, options

from kdprobe.comparison.samples.at_k import NO_VALUE, majorities
from kdprobe.stats.crossed import crossed_test
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.stats.permutations.sign_flips import sign_flip_p
from kdprobe.stats.samples.at_k import pass_at

PROBLEMS, SAMPLES, SEEDS = (60, 200), (4, 8), 3
EFFECTS = (0.0, 0.15)
"""Standard deviation of how much easier a problem is for an arm, in accuracy."""
WRONG, SILENT = 4, 0.05
"""Number of wrong values, and the share of answers without one."""
NAIVE = "answers paired by number"


def main() -> None:
    """Prints a row per setting, and says whether all but the naive test are within 5%."""
    given = options(__doc__).parse_args()
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    tests = ("mean accuracy", "pass@k", "maj@k", "strategies of 3 seeds", NAIVE)
    print(f"| problems | samples | effect | {' | '.join(tests)} |")
    print(f"| {' | '.join(['---'] * (3 + len(tests)))} |", flush=True)
    for problems in PROBLEMS:
        for samples in SAMPLES:
            for effect in EFFECTS:
                rejected = np.zeros(len(tests))
                for _ in range(given.repetitions):
                    rejected += np.array(p_values(random, problems, samples, effect)) < SIGNIFICANT
                shares = dict(zip(tests, (rejected / given.repetitions).tolist(), strict=True))
                rows.append({"problems": problems, "samples": samples, "effect": effect, **shares})
                listed = " | ".join(f"{share:.1%}" for share in shares.values())
                print(f"| {problems} | {samples} | {effect} | {listed} |", flush=True)
    if given.json:
        write_result(given.json, {"repetitions": given.repetitions, "rows": rows})
    exit_above_level(
        (row[test] for row in rows for test in tests if test != NAIVE), given.repetitions, "A test rejects"
    )


def p_values(random: np.random.Generator, problems: int, samples: int, effect: float) -> list[float]:
    """The p-value of each test of two equal arms, once; k is half of the samples."""
    difficulty, k = random.beta(0.6, 1.0, problems), samples // 2
    a, b = (answers(random, difficulty, samples, effect) for _ in range(2))
    right = [np.asarray(side == 0) for side in (a, b)]
    counts = [side.sum(axis=1) for side in right]
    n = np.full(problems, samples)
    passed = pass_at(counts[0], n, k) - pass_at(counts[1], n, k)
    voted = majority_at(a, k) - majority_at(b, k)
    seeds = [[(answers(random, difficulty, samples, effect) == 0).mean(axis=1) for _ in range(SEEDS)] for _ in range(2)]
    return [
        sign_flip_p((counts[0] - counts[1]) / samples, samples),
        sign_flip_p(passed, math.comb(samples, k)),
        sign_flip_p(voted, math.comb(samples, k) * math.lcm(*range(1, k + 1))),
        crossed_test(np.array(seeds[0]), np.array(seeds[1])).p,
        sign_flip_p((right[0].astype(int) - right[1]).ravel()),
    ]


def answers(
    random: np.random.Generator, difficulty: NDArray[np.float64], samples: int, effect: float
) -> NDArray[np.int64]:
    """Values `[problem, sample]`: 0 is correct, higher numbers are wrong, and `NO_VALUE` is none."""
    easier = np.clip(difficulty + random.normal(0, effect, len(difficulty)), 0, 1)
    drawn = random.random((len(difficulty), samples))
    values = np.where(drawn < easier[:, None], 0, random.geometric(0.5, drawn.shape).clip(1, WRONG))
    return np.where(random.random(drawn.shape) < SILENT, NO_VALUE, values)


def majority_at(values: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """maj@k of each problem."""
    problems, samples = values.shape
    of_answers = np.repeat(np.arange(problems), samples)
    return np.array(
        [shares[k - 1] for shares in majorities(of_answers, problems, (values == 0).ravel(), values.ravel())]
    )


if __name__ == "__main__":
    main()
