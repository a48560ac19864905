"""The words that a page uses without explaining them on the spot: it links each of them to its definition."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from kdprobe.console.streams import visible


class Term(NamedTuple):
    """A term and its definition."""

    words: str
    meaning: str


COMPARISON = {
    "arm": Term("arm", "A student of the comparison. All arms answer the same test problems in the same way."),
    "points": Term("points", "Percentage points of accuracy: from 20% to 32.5% is +12.5 points."),
    "interval": Term(
        "95% CI, 95% interval",
        "The values that are compatible with the data. Of intervals computed like this, 95% contain the true value. A "
        "difference whose interval includes zero may be due to chance.",
    ),
    "discordant": Term(
        "discordant problem",
        "A problem that one of two students solved and the other did not. Only these problems tell the two apart.",
    ),
    "p": Term(
        "p, p (Holm)",
        "How probable a difference at least this large would be if both were equally good. Holm's adjustment raises "
        "it, because among several comparisons some look large by chance. Below 0.05 the difference is called "
        "significant.",
    ),
    "detectable": Term(
        "detectable difference",
        "The smallest true difference that this comparison would have found significant four times in five.",
    ),
    "gold": Term(
        "gold value, gold solution", "The correct answer to a problem, and the worked solution that it came with."
    ),
    "log-p": Term(
        "log p(gold value), log p(gold solution)",
        "How likely the student finds the gold value, given the question and the gold reasoning before it; or the "
        "whole gold solution, given the question. It is a log-probability in nats: 0 is certain, and the more "
        "negative, the less likely. It shows differences between answers that are both right or both wrong.",
    ),
    "nats": Term(
        "nats",
        "The unit of log-probabilities with the natural logarithm. One nat less means that the probability is divided "
        "by 2.7; 2.3 nats less, by 10.",
    ),
    "cut-off": Term("cut off", "The answer reached the token budget before it ended."),
}
TEACHING = {
    "priming": Term(
        "priming",
        "Words around the question that only the teacher reads. They change how it answers, and so what the student "
        "learns.",
    ),
    "strategy": Term("strategy", "How the teacher is prompted; without priming, it reads the bare question."),
    "top-k": Term(
        "top k, tail, truncation KL",
        "At every token of its answers, the teacher's probabilities of the k most likely tokens are kept one by one, "
        "and those of all others, the tail, as a sum. Truncation KL is what would be lost without the sum.",
    ),
}
HEADS = {
    "head": Term(
        "head",
        "A part of a layer that collects information from earlier tokens of the text; every layer has several. Layers "
        "and heads are numbered from 0.",
    ),
    "ablation": Term(
        "ablation",
        "Replacing the output of a head, usually by its mean over the problems, and measuring how log p(gold solution) "
        "changes. The further it falls, the more the student relies on the head.",
    ),
    "exact": Term(
        "exact, first-order",
        "Exact effects come from running the student with the head replaced. First-order estimates come from a "
        "gradient, for all heads at once; they can be far off for large effects.",
    ),
    "patching": Term(
        "patching", "Replacing the output of a head in one student by that of the same head in another student."
    ),
    "entropy": Term(
        "attention entropy",
        "How widely a head spreads its attention over earlier tokens, in nats: 0 if it looks at a single one.",
    ),
    "circuits": Term(
        "QK circuit, OV circuit",
        "The products of weight matrices that determine where a head looks (QK) and what it passes on (OV).",
    ),
    "moved": Term(
        "moved",
        "A head whose attention changed from the first student's by more than a threshold, and significantly so over "
        "the problems. The results of the analysis state the threshold.",
    ),
}


_WRITTEN = {
    "95% CI": "interval",
    "95% interval": "interval",
    "log p(gold value)": "log-p",
    "log p(gold solution)": "log-p",
    "nats": "nats",
    "Attention entropy": "entropy",
    '"moved"': "moved",
    '"Moved"': "moved",
}
"""How terms are written in sentences."""
_SPLIT = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, _WRITTEN))})(?!\w)")


@pass_context
def with_terms(context: Context, text: str | Sequence[str]) -> Markup | list[Markup]:
    """A sentence, or several, in which each term that the page defines is a link where it is used first.

    Args:
        context: The page's; its `terms` are those that the page defines.
        text: What is written, which is no markup.
    """
    linked: set[str] = set()

    def linking(words: str) -> Markup:
        key = _WRITTEN.get(words, "")
        if key not in context["terms"] or key in linked:
            return escape(words)
        linked.add(key)
        return term_link(key, words)

    sentences = [text] if isinstance(text, str) else text
    found = [Markup().join(map(linking, _SPLIT.split(visible(sentence)))) for sentence in sentences]
    return found[0] if isinstance(text, str) else found


def term_link(key: str, words: str) -> Markup:
    """Words that link to their definition, which also shows when one points at them.

    Args:
        key: The term's key.
        words: How it is written here.
    """
    meaning = next(terms[key].meaning for terms in (COMPARISON, TEACHING, HEADS) if key in terms)
    return Markup('<a class="term" href="#term-{}" title="{}">{}</a>').format(key, escape(meaning), escape(words))
