"""Eight prompting methods from the literature, used to prime a teacher; the student reads the bare question."""

from collections.abc import Iterator

from kdprobe import StrategySpec, hookimpl
from kdprobe_strategies import few_shot, instructions, rationalise


@hookimpl
def kdprobe_strategies() -> Iterator[StrategySpec]:
    """`step-back`, `plan-and-solve`, `least-to-most`, `analogical`, `self-verification` and three more."""
    yield from instructions.specs()
    yield few_shot.spec()
    yield rationalise.spec()
