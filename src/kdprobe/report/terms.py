"""The words that a page uses without explaining them on the spot: it links each of them to its definition."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from kdprobe.comparison.result import Comparison
from kdprobe.console.streams import visible


class Term(NamedTuple):
    """A term and its definition."""

    words: str
    meaning: str


COMPARISON = {
    "kdprobe": Term(
        "kdprobe, distillation",
        "kdprobe made this page. It trains students, small language models, to answer like a teacher (distillation).",
    ),
    "arm": Term(
        "arm, student",
        "An arm is a student in the comparison, or the model before training. All arms answer the same test problems "
        "under the same conditions.",
    ),
    "seed": Term(
        "seed",
        "The number that fixes the randomness of a student's training. Students trained identically except for the "
        "seed differ by chance, so a statement about a strategy needs several seeds.",
    ),
    "template": Term(
        "template",
        "A text from which problems are made by filling in different numbers and names. Problems from one template "
        "tend to be solved or missed together, so many problems from few templates say little about other kinds "
        "of problem.",
    ),
    "extractor": Term(
        "extractor: robust, published, strict",
        "What reads the value from an answer. robust takes a marked value (boxed, after ####, or after “answer is”), "
        "or, failing that, the last number; published follows the rules of the response-priming paper; strict takes "
        "only a number after ####.",
    ),
    "points": Term("points", "Percentage points of accuracy: from 20% to 32.5% is +12.5 points."),
    "interval": Term(
        "95% CI, 95% interval",
        "The values that are compatible with the data. 95% of intervals computed like this contain the true value. A "
        "difference whose interval includes zero may be due to chance.",
    ),
    "discordant": Term(
        "discordant problem",
        "A problem that one of two students solved and the other did not. Only these problems tell the two apart.",
    ),
    "p": Term(
        "p, significant",
        "How likely a difference at least this large would be if both arms were equally good. Below 0.05, after "
        "Holm's adjustment, the difference is called significant.",
    ),
    "mcnemar": Term(
        "McNemar's test",
        "The test of two students on the same problems: whether the discordant problems are split more unevenly than "
        "tosses of a fair coin would be.",
    ),
    "at-k": Term(
        "pass@k, maj@k",
        "Of k sampled answers to a problem: the probability that at least one is correct (pass@k), and that the most "
        "frequent value is correct (maj@k).",
    ),
    "holm": Term(
        "p (Holm), family",
        "Among several comparisons, some differences look large by chance. Holm's adjustment raises the p-values "
        "accordingly. It counts the comparisons of one family, which answer the same question: all primed students "
        "compared with the unprimed one, for example.",
    ),
    "detectable": Term(
        "detectable difference",
        "The smallest true difference that this comparison would have found to be significant four times in five.",
    ),
    "gold": Term(
        "gold value, gold solution", "The correct answer to a problem, and the worked solution that it came with."
    ),
    "log-p": Term(
        "log p(gold value), log p(gold solution)",
        "How much probability the student assigns to the gold value, given the question and the gold reasoning before "
        "it; or to the whole gold solution, given the question. It is a log-probability in nats: 0 is certain, and the "
        "more negative, the less likely. It can tell two students apart even where both are right or both are wrong.",
    ),
    "nats": Term(
        "nats",
        "The unit of log-probabilities that use the natural logarithm. One nat less means that the probability is "
        "divided by 2.7; 2.3 nats less, by 10.",
    ),
    "cut-off": Term("cut off", "The answer reached the token budget before it ended."),
}
TEACHING = {
    "priming": Term(
        "priming",
        "Extra words around the question, shown only to the teacher. They change how the teacher answers, and so what "
        "the student learns.",
    ),
    "strategy": Term("strategy", "How the teacher is prompted; without priming, the teacher reads the bare question."),
    "top-k": Term(
        "top k, tail, truncation KL",
        "At every token of its answers, the teacher's probabilities of the k most likely tokens are kept individually, "
        "and those of the rest, the tail, as a sum. Truncation KL: the divergence that dropping the tail would cause.",
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
        "exact, estimate (first-order)",
        "Exact effects come from running the student with the head replaced. Estimates (first-order) come from a "
        "gradient, for all heads at once; they can be far off for large effects.",
    ),
    "kl": Term(
        "KL(p || q)",
        "The Kullback-Leibler divergence of two models' next-token distributions, in nats per token: how much lower "
        "q's log-probability is than p's, on average, for text that p writes. 0 if the distributions are the same.",
    ),
    "random-sets": Term(
        "p compared with random sets",
        "Random sets of the same size are replaced like the tested set. p is the share of all sets, the tested one "
        "included, that lower log p(gold solution) at least as much as it does; 19 random sets give p >= 0.05.",
    ),
    "patching": Term(
        "patching", "Replacing the output of a head in one student by that of the same head in another student."
    ),
    "entropy": Term(
        "attention entropy",
        "How widely a head spreads its attention over earlier tokens, in nats: 0 if it looks at a single one.",
    ),
    "circuits": Term(
        "circuit (QK, OV, Q, K, V, O)",
        "Weights of a head that determine where it looks (QK, or Q and K) and what it passes on (OV, or V and O).",
    ),
    "moved": Term(
        "moved",
        "A head's attention differs by at least a threshold (and significantly, if tested) from the same head's in "
        "the baseline student (for a teacher: from its own after neutral text), in the measure named beside the word.",
    ),
}


def comparison_terms(comparison: Comparison) -> dict[str, Term]:
    """The terms that the page of a comparison uses.

    Args:
        comparison: What came out.
    """
    arms, pairs = comparison.arms, comparison.pairs
    known = {
        "seed": any(arm.strategy for arm in arms),
        "template": any(pair.clustered for pair in pairs),
        "log-p": any(arm.log_p_interval or arm.log_p_gold_solution is not None for arm in arms),
        "cut-off": any(arm.cut_off is not None for arm in arms),
        "at-k": any(arm.at_k for arm in arms),
        **dict.fromkeys(("points", "discordant", "p", "mcnemar", "holm", "detectable"), bool(pairs)),
    }
    if any(arm.samples > 1 for arm in arms):
        # Means over samples are compared by another test.
        known |= {"discordant": False, "mcnemar": False}
    known["nats"] = known["log-p"]
    return {key: term for key, term in COMPARISON.items() if known.get(key, True)}


def head_terms(texts: Iterable[str]) -> dict[str, Term]:
    """The terms that the part about heads uses, and those of its measures.

    Args:
        texts: The statements and the titles of measures.
    """
    said = " ".join(texts).lower()
    used = {key: term for key, term in HEADS.items() if any(word in said for word in _USED.get(key, ("",)))}
    measures = {key: COMPARISON[key] for key in ("gold", "log-p", "nats")} if "log p" in said else {}
    return {"interval": COMPARISON["interval"], **measures, **used}


_USED = {
    "ablation": ("ablat",),
    "exact": ("ablat", "patching"),
    "random-sets": ("ablat",),
    "patching": ("patching",),
    "entropy": ("entropy",),
    "circuits": ("circuit",),
    "kl": ("kl(",),
    "moved": ("moved",),
}
"""For each term about heads, words of which at least one occurs wherever it is used."""
_WRITTEN = {
    "95% CI": "interval",
    "95% interval": "interval",
    "log p(gold value)": "log-p",
    "log p(gold solution)": "log-p",
    "nats": "nats",
    "KL": "kl",
    "templates": "template",
    "Attention entropy": "entropy",
    **dict.fromkeys(('"moved"', '"Moved"'), "moved"),
}
"""How terms are written in sentences."""
_SPLIT = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, _WRITTEN))})(?!\w)")


@pass_context
def with_terms(context: Context, text: str | Sequence[str]) -> Markup | list[Markup]:
    """One or several sentences in which the first use of each term that the page defines is a link.

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
    """Words that link to their definition, which also appears on hover.

    Args:
        key: The term's key.
        words: How it is written here.
    """
    meaning = next(terms[key].meaning for terms in (COMPARISON, TEACHING, HEADS) if key in terms)
    return Markup('<a class="term" href="#term-{}" title="{}">{}</a>').format(key, escape(meaning), escape(words))
