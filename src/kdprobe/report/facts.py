"""What a run is about: who taught whom, on which problems, and how far its results reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdprobe.comparison.engine_words import engine_words
from kdprobe.comparison.findings import MANY
from kdprobe.comparison.result import Comparison
from kdprobe.comparison.samples.words import is_several, samples_text
from kdprobe.experiment.results import Results
from kdprobe.report.headline import Headline
from kdprobe.words import counted

_NAMED = 4
"""Up to this many primings are named; if there are more, the page only says what the names mean."""
_THESE = "results apply to these students, not to the strategies"


def run_facts(results: Results) -> list[tuple[str, str]]:
    """Student, teacher, problems, strategies, seeds and date, as names and values; without what the record lacks."""
    record, config = results.record, results.record["config"]
    teacher = config.get("teacher", {})
    options = teacher.get("options", {})
    taught = " with ".join(str(options[name]) for name in ("model", "adapter", "quantization") if options.get(name))
    source = config.get("problems", {}).get("source", "")
    tested, trained = (len(record["problems"].get(split, [])) for split in ("test", "transfer"))
    learnt = f", {trained} for training" if trained else ""
    seeds = sorted({arm.seed for arm in results.arms if arm.strategy is not None})
    engines = dict.fromkeys(engine_words(arm.records[0].get("conditions") or {}) for arm in results.arms if arm.records)
    named = {
        "Student": str(record["student"].get("name", "")),
        "Teacher": taught or teacher.get("name", ""),
        "Problems": f"{f'{_described(source)}: ' if source else ''}{tested} for testing{learnt}",
        "Answers": _answers(config.get("evaluation", {})),
        "Strategies": ", ".join(dict.fromkeys(arm.strategy for arm in results.arms if arm.strategy)),
        "Seeds": f"{counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))})" if seeds else "",
        "Engine": "; ".join(filter(None, engines)),
        # In UTC as an ISO date and time; earlier versions did not record it.
        "Finished": f"{finished[:10]} (UTC)" if (finished := record.get("finished")) else "",
        "Run": results.run,
    }
    return [(name, value) for name, value in named.items() if value]


def _answers(evaluation: Mapping[str, Any]) -> str:
    """How several answers to each problem were sampled; empty for one answer."""
    samples = evaluation.get("samples", 1)
    return f"{samples} samples per problem, temperature {evaluation['temperature']:g}" if samples > 1 else ""


def _described(source: str) -> str:
    """A problem source, with what it is if it is kdprobe's own."""
    from kdprobe.problems.plugin import kdprobe_problem_sources

    summary = next((spec.summary for spec in kdprobe_problem_sources() if spec.name == source), "")
    if not summary:
        return source
    # Not `GSM8K`.
    word = summary.partition(" ")[0]
    return f"{source} ({summary[:1].lower() + summary[1:] if word[1:].islower() else summary})"


def runs_facts(runs: Sequence[Results]) -> list[tuple[str, str]]:
    """The same of several runs, each with all values that differ."""
    each = [dict(run_facts(results)) for results in runs]
    names = dict.fromkeys(name for facts in each for name in facts)
    return [(name, "; ".join(dict.fromkeys(facts[name] for facts in each if name in facts))) for name in names]


def comparison_facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Arms, problems and how answers were judged and paired, as names and values."""
    several = len(comparison.arms) > 1
    problems = sorted({score.problems for score in comparison.arms})
    samples = sorted({score.samples for score in comparison.arms})
    named = {
        "Arms": str(len(comparison.arms)) if several else "",
        "Problems": " to ".join(map(str, dict.fromkeys([*problems[:1], *problems[-1:]]))),
        "Answers": f"{samples_text(samples)} per problem" if is_several(samples) else "",
        "Judged by": ", ".join(dict.fromkeys(score.extractor for score in comparison.arms)),
        "Pairing": comparison.pairing if several else "",
    }
    return [(name, value) for name, value in named.items() if value]


def names_told(comparison: Comparison) -> str:
    """What the names in the headline mean, in a sentence; empty if no teacher was primed."""
    primed = list(dict.fromkeys(arm.strategy for arm in comparison.arms if arm.strategy and not arm.unprimed))
    unprimed = next((arm.strategy for arm in comparison.arms if arm.unprimed), None)
    if not primed:
        return ""
    *others, last = [f"“{name}”" for name in primed]
    named = f"{', '.join(others)} and {last} are prompts" if others else f"{last} is a prompt"
    which = named if len(primed) <= _NAMED else "The names are those of prompts"
    bare = f"; “{unprimed}” is the bare question" if unprimed else ""
    return f"Points are percentage points of the students' accuracy. {which} given to the teacher{bare}."


def several_told(comparison: Comparison) -> str:
    """Which of several answers to a problem are shown, in a sentence; empty if each problem has one."""
    samples = sorted({score.samples for score in comparison.arms})
    if not is_several(samples):
        return ""
    up_to = "up to " if any(score.n < score.samples * score.problems for score in comparison.arms) else ""
    return (
        f"Each problem has {up_to}{samples_text(samples)}. Outcomes and filters refer to the first "
        "sample of each problem; the other samples are shown below it. Accuracies, differences and their tests use all "
        "samples; traces of priming and the lengths of answers come from the first."
    )


def one_seed(comparison: Comparison) -> str:
    """States in a few words that all results come from a single seed; empty if they do not."""
    seeds = {arm.seed for arm in comparison.arms if arm.strategy is not None}
    return f"Single seed: {_THESE}" if len(seeds) == 1 and not comparison.strategies else ""


@dataclass(frozen=True)
class Concern:
    """What a finding means for the headline's comparison.

    Attributes:
        sentence: The same in a sentence.
        elsewhere: Whether the finding is about other arms only.
    """

    sentence: str
    elsewhere: bool


def concerned(comparison: Comparison, headline: Headline) -> dict[str, Concern]:
    """What findings mean for the headline's comparison, by code; without those that do not say so.

    Args:
        comparison: What came out.
        headline: The same in one sentence.
    """
    if headline.sides is None:
        return {}
    members = [name for side in headline.sides for name in side.arms]
    shares = {score.name: score.cut_off for score in comparison.arms if score.name in members}
    known = {name: share for name, share in shares.items() if share is not None}
    said = {}
    if known:
        cut = ", ".join(f"{name} {share:.1%}" for name, share in known.items())
        elsewhere = max(known.values()) <= MANY
        said["cut-off"] = Concern(f"In the comparison in the headline: {cut}.", elsewhere)
    for finding in comparison.findings:
        if finding.code == "extractor-disagreement" and len(members) == len(headline.sides):
            a, b = members
            # Each pair begins a part of the evidence; names may hold any of its marks.
            parts = f"; {finding.evidence}"
            named = f"; {a} - {b}: " in parts or f"; {b} - {a}: " in parts
            sentence = f"This {'affects' if named else 'does not affect'} the comparison in the headline."
            said[finding.code] = Concern(sentence, not named)
    return said


def scope(comparison: Comparison, reach: Sequence[str] = ()) -> list[str]:
    """How far the results reach, in a few words each; without what the badge of the finding `single-seed` says.

    Args:
        comparison: The result of the comparison.
        reach: What is known of the problems that students were trained on, as sentences.
    """
    said = []
    seeds = {arm.seed for arm in comparison.arms if arm.strategy is not None}
    if comparison.strategies:
        said.append("several seeds, so the results apply to the strategies")
    elif len(seeds) > 1:
        said.append(f"{len(seeds)} seeds, but {_THESE}")
    elif seeds and not any(finding.code == "single-seed" for finding in comparison.findings):
        said.append(f"a single seed, so {_THESE}")
    if reach:
        # They begin with a number, or with `All`.
        said += [sentence[:1].lower() + sentence[1:].removesuffix(".") for sentence in reach]
    elif clustered := [pair.clustered for pair in comparison.pairs if pair.clustered]:
        said.append(f"problems made from {clustered[0].groups} templates")
    return said


def training_options(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The options of the training, in words; those that are not set are left out."""
    distill = config.get("distill", {})
    named = {"distiller": distill.get("name"), "data type": distill.get("dtype"), **distill.get("options", {})}
    return [(name.replace("_", " "), str(value)) for name, value in named.items() if value is not None]
