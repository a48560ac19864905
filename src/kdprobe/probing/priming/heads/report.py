"""Sentences and JSON of `priming_heads`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kdprobe.files import clean
from kdprobe.models.reference import Dtype
from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.labels import Head, head_label
from kdprobe.probing.options import PrimingHeadsOptions
from kdprobe.probing.priming.heads.attending import DIVERGENCE, FIRST_TOKEN, LEARNED_SINK, PRIMING
from kdprobe.probing.priming.heads.measured import BARE, PRIMED, TESTED, PrimedHeads
from kdprobe.probing.priming.heads.tables import strategy_row
from kdprobe.probing.priming.report import texts_read
from kdprobe.probing.priming.teaching import Teaching
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.stats.p_values import FEWEST_DRAWS, SIGNIFICANT
from kdprobe.words import counted, enumerated

_NAMED = 3
"""Heads that a sentence names."""
_WHAT = {
    DIVERGENCE: (
        "how it distributes",
        "how they distribute",
        " attention over the tokens of the question and the response",
    ),
    PRIMING: ("its", "their", " attention to the priming"),
}
"""What a head has changed: for one head, for several, and the rest."""
_UNITS = {DIVERGENCE: " nats", PRIMING: ""}


def statements(
    heads: Sequence[PrimedHeads], teaching: Teaching, dtype: Dtype, options: PrimingHeadsOptions
) -> list[str]:
    """What was read, what counts as moved, and which heads priming moves under each strategy."""
    return [
        _read_sentence(teaching, options),
        _definition(options),
        *(sentence for each in heads for sentence in _sentences(each)),
        *_caveats(heads, dtype),
    ]


def summary(heads: Sequence[PrimedHeads]) -> dict[str, Any]:
    """The table `priming_heads_strategies` and the heads that are moved, for JSON."""
    return {
        "strategies": clean([strategy_row(each) for each in heads if each.problems]),
        "moved": [
            {"strategy": each.strategy, "measure": measure, "layer": layer, "head": head, "value": float(value)}
            for each in heads
            if each.problems
            for measure in TESTED
            for layer, head in each.moved_heads(measure)
            for value in [each.beyond(measure).value[layer, head]]
        ],
    }


def _read_sentence(teaching: Teaching, options: PrimingHeadsOptions) -> str:
    return (
        f"The teacher predicted {texts_read(teaching)} after each strategy's prompt, after the bare question, and "
        "after each prompt with its priming replaced by neutral text of the same length "
        f"({counted(options.neutral, 'text')}{', one at a time' if options.neutral > 1 else ''}). Attention is "
        "measured at the tokens from which the response is predicted."
    )


def _definition(options: PrimingHeadsOptions) -> str:
    return (
        'A head has "moved" if one of two measures is larger with priming than with neutral text: the Jensen-Shannon '
        "divergence of its attention from its attention after the bare question (by at least "
        f"{options.smallest_divergence:g} nats), or its attention to the added text (by at least "
        f"{options.smallest_share:g}). The difference must also have p at most {SIGNIFICANT:g} both in the test over "
        "problems and in the test against neutral texts, adjusted for all heads and both measures. These are observed "
        "differences, not evidence of causation."
    )


def _sentences(each: PrimedHeads) -> Iterator[str]:
    name = each.strategy
    if not each.problems:
        yield f"{name}: no response contains tokens."
        return
    responses = f"{counted(len(each.problems), 'response')} ({sum(each.tokens):,} tokens)"
    if each.unprimed:
        yield (
            f"{name}: the divergence is exactly 0 in every head on {responses}, because the teacher reads the bare "
            "question."
        )
    elif each.controlled:
        yield f"{name}: {responses}; the priming has {_length(each.priming)}. {_outcome(each)}"
        yield _shares_sentence(each)
    else:
        yield (
            f"{name}: in {len(each.problems) - len(each.located)} of {counted(len(each.problems), 'problem')}, the "
            "tokens of the question do not occur exactly once in the primed prompt. Which tokens belong to the "
            "priming is therefore unknown, nothing is compared with neutral text, and whether a head moved cannot be "
            "decided. Divergences compare only attention on the response's own tokens; the largest is in "
            f"{_listed(each, ranked(each.mean(DIVERGENCE, PRIMED))[:1])}."
        )


def _shares_sentence(each: PrimedHeads) -> str:
    priming = _percent(each, PRIMING, PRIMED)
    first, first_bare = (_percent(each, FIRST_TOKEN, prompt) for prompt in (PRIMED, BARE))
    return (
        f"{each.strategy}: on average over heads, {priming} of the attention is on the priming, and {first} on the "
        f"first token ({first_bare} after the bare question). Divergences compare attention on the question and the "
        f"response, normalised to sum to one; the rest, {each.divided_out(PRIMED):.1%} after the primed prompt and "
        f"{each.divided_out(BARE):.1%} after the bare one, is left out."
    )


def _outcome(each: PrimedHeads) -> str:
    total = int(np.prod(each.values.shape[-2:]))
    largest = ranked(each.beyond(DIVERGENCE).value)[:1]
    if not each.decidable:
        few = [
            *([counted(len(each.problems), "problem")] * (len(each.problems) < FEWEST_PROBLEMS)),
            *([counted(each.neutral_texts, "neutral text")] * (each.neutral_texts < FEWEST_DRAWS)),
        ]
        return (
            f"{enumerated(few)}: too few to tell whether a head moved; at least {FEWEST_PROBLEMS} problems and "
            f"{FEWEST_DRAWS} neutral texts are needed. The divergence after priming exceeds that after neutral text "
            f"most in {_listed(each, largest)}."
        )
    moved = {measure: each.moved_heads(measure) for measure in TESTED}
    if not any(moved.values()):
        return (
            f"None of the {total} heads is shown to have moved. The divergence after priming exceeds that after "
            f"neutral text most in {_listed(each, largest)}."
        )
    found = len({head for heads in moved.values() for head in heads})
    by = " ".join(_moved(each, heads, measure) for measure, heads in moved.items())
    return f"{found} of {total} heads moved. {by}"


def _length(tokens: Sequence[int]) -> str:
    """How long the priming is; it can depend on the problem."""
    same = len(set(tokens)) == 1
    return counted(tokens[0], "token") if same else f"{np.mean(tokens):.1f} tokens on average"


def _moved(each: PrimedHeads, heads: Sequence[Head], measure: str) -> str:
    one, several, what = _WHAT[measure]
    if not heads:
        return f"None is shown to have changed {one}{what}."
    most = ", most of all" if len(heads) > _NAMED else ":"
    named = _listed(each, heads[:_NAMED], measure)
    return f"{len(heads)} changed {one if len(heads) == 1 else several}{what}{most} {named}."


def _listed(each: PrimedHeads, heads: Sequence[Head], measure: str = DIVERGENCE) -> str:
    if not each.controlled:
        values = each.mean(measure, PRIMED)
        return "; ".join(f"{head_label(*head)} ({values[head]:.3g}{_UNITS[measure]})" for head in heads)
    beyond = each.beyond(measure)

    def value(head: Head) -> str:
        low, high = beyond.low[head], beyond.high[head]
        interval = f", {low:+.3f} to {high:+.3f}" if np.isfinite(low) else ""
        return f"{head_label(*head)} ({beyond.value[head]:+.3f}{_UNITS[measure]}{interval})"

    return "; ".join(map(value, heads))


def _percent(each: PrimedHeads, measure: str, prompt: int) -> str:
    return f"{np.nanmean(each.mean(measure, prompt)):.1%}"


def _caveats(heads: Sequence[PrimedHeads], dtype: Dtype) -> Iterator[str]:
    read = [each for each in heads if each.problems]
    if dtype != "float32" and read:
        yield (
            f"The teacher's attention was measured in {dtype}, the precision it runs in: shares of attention are "
            "rounded to about three digits."
        )
    if shares := [float(each.of(LEARNED_SINK).mean()) for each in read if each.sinks]:
        up_to = "Up to " if len(shares) > 1 else ""
        yield (
            f"{up_to}{max(shares):.1%} of the attention goes to learned sinks, which are not tokens; divergences "
            "compare the rest."
        )
