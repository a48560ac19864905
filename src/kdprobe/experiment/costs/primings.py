"""What analyses of the teacher read, before the students are trained."""

from __future__ import annotations

import math

from kdprobe.experiment.costs.work import KL, LOG, Subject, Work


def priming_map(of: Subject) -> Work:
    """The teacher reads its answers after the bare and, if it differs, the primed prompt; both distributions count."""
    primed = [of.prompt if prompt is None else of.prompt + prompt + of.taught for prompt in of.primed]
    passes = of.used * sum(1 if prompt is None else 2 for prompt in of.primed)
    read = of.used * sum(tokens + of.taught for tokens in primed)
    compared = of.used * len(of.primed) * of.taught
    return Work(read, passes, 2 * compared, compared * (2 * LOG + KL), length=read / max(1, passes))


def priming_heads(of: Subject) -> Work:
    """The teacher reads its answers after the bare prompt, in every pass again, the primed one and all neutral ones.

    All are padded to the primed prompt.
    """
    work, smaller = Work(batch=of.batch, each=3 * of.pattern), max(1, of.batch - 1)
    for primed in of.primed:
        others = 0 if primed is None else 1 + of.options["neutral"]
        passes = max(1, math.ceil(others / smaller))
        length = (of.prompt if primed is None else primed) + of.taught
        work += Work(of.used * (others + passes) * length, of.used * passes, length=length)
    return work


def priming_gain(of: Subject) -> Work:
    """The teacher reads the gold solutions after the bare prompt, and after the prompts of strategies that prime."""
    prompts = [of.prompt, *(prompt for prompt in of.primed if prompt is not None)]
    read, passes = of.used * sum(prompt + of.solution for prompt in prompts), of.used * len(prompts)
    return Work(read, passes, passes * of.solution, length=sum(prompts) / len(prompts) + of.solution)
