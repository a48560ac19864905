"""The analysis `heads`: what every head of every student does on the same tokens, and which heads moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import pandas as pd

from kdprobe.errors import UsageError
from kdprobe.probing import tables
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Figure
from kdprobe.probing.attention.control import controls
from kdprobe.probing.attention.moved import (
    Comparison,
    compare,
    effects,
    moved,
    moved_definition,
    moved_sentence,
    ranked,
    verdicts,
)
from kdprobe.probing.attention.rounded import metric_rounding, rounding_sentences
from kdprobe.probing.attention.strongest import attention_tables
from kdprobe.probing.attention.threshold import Threshold, movement_threshold, seed_differences
from kdprobe.probing.figures import change_maps, head_map, layer_curves
from kdprobe.probing.metrics.measure import Measured, measure, per_layer, require, sink_shares
from kdprobe.probing.metrics.metric import HeadMetric
from kdprobe.probing.options import HeadsOptions
from kdprobe.probing.patterns.real_keys import sink_sentences
from kdprobe.stats.bootstrap import known_mean, means_over_problems
from kdprobe.students.replicates import Replicate, by_arm


class HeadsAnalysis:
    """All head metrics with intervals over problems, and the paired differences from the first student."""

    def __init__(self, options: HeadsOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Measures everything in the context, and compares students that read the same tokens."""
        deciding_metric = _deciding_metric(self.options.metric, context)
        measured = measure(context)
        require(measured, deciding_metric.name)
        comparable = _comparable(context, measured)
        replicates: Sequence[Replicate] = context.patterns or context.students
        rounding = _rounding(context, measured)
        comparisons, threshold = compare_arms(
            comparable, replicates, self.options, context.seed, rounding.get(deciding_metric.name, 0.0), context.dtype
        )
        deciding = [comparison for comparison in comparisons if comparison.metric == deciding_metric.name]
        values = {name: comparable[name][deciding_metric.name] for name in comparable}
        control = controls(context, deciding, threshold, metric=deciding_metric, values=values, options=self.options)
        problems = (
            {file.name: [prompt.name for prompt in file.prompts] for file in context.patterns}
            if context.patterns
            else {name: [sequence.id for sequence in context.sequences] for name in measured}
        )
        return AnalysisResult(
            tables={
                "heads": tables.pooled(measured, context.seed),
                "heads_by_problem": tables.by_problem(measured, problems),
                **_difference_table(comparisons, deciding, threshold, rounding),
                **control.table,
                **_check_table(context),
                **_attention_tables(context, measured, deciding, deciding_metric),
            },
            figures=[
                *layer_curves(measured, context.head_metrics, context.seed),
                *_maps(measured, deciding, deciding_metric),
            ],
            statements=[
                *_check_sentence(context),
                _means_sentence(measured, deciding_metric, context.seed),
                *sink_sentences(sink_shares(measured), "all other metrics and tables describe"),
                *moved_definition(deciding, threshold, deciding_metric.unit),
                *control.definition,
                *chain.from_iterable(
                    [moved_sentence(comparison, threshold, deciding_metric.unit), *control.sentences(comparison.arm)]
                    for comparison in deciding
                ),
                *control.notes,
                *_rounding_sentences(deciding, rounding, context.dtype, deciding_metric.unit),
                *(
                    f"{name} is not compared, because its layers, heads, prompts or tokens differ from those of "
                    f"{next(iter(measured))}."
                    for name in measured
                    if name not in comparable
                ),
            ],
            summary={
                "per_layer": {name: per_layer(values) for name, values in measured.items()},
                "threshold": {"metric": deciding_metric.name, "value": threshold.value, "stated": threshold.stated},
                "moved": {
                    comparison.arm: tables.top(comparison.effect.value, moved(comparison, threshold), "change")
                    if comparison.decidable
                    else None
                    for comparison in deciding
                },
                "control": control.summary,
            },
        )


def build(options: HeadsOptions) -> HeadsAnalysis:
    """The analysis."""
    return HeadsAnalysis(options)


def compare_arms(  # noqa: PLR0917
    measured: Measured,
    replicates: Sequence[Replicate],
    options: HeadsOptions,
    seed: int,
    rounding: float = 0.0,
    dtype: str = "float32",
) -> tuple[list[Comparison], Threshold]:
    """Compares every arm with the first student on every metric, and determines what counts as moved.

    Args:
        measured: Students with the same tokens, layers and heads, the first student first.
        replicates: The same students with their arms; students that were not measured are skipped.
        options: The deciding metric, the smallest effect of interest and the number of permutations.
        seed: Of the bootstrap and the permutations.
        rounding: What rounding may change in the deciding metric.
        dtype: The data type of the students.
    """
    arms = by_arm([replicate for replicate in replicates if replicate.name in measured][1:])
    metrics = list(next(iter(measured.values())))
    comparisons = compare(measured, arms, metrics, permutations=options.permutations, seed=seed)
    by_seed = seed_differences(effects(measured, options.metric), arms)
    return comparisons, movement_threshold(by_seed, options.smallest_effect, rounding, dtype)


def _deciding_metric(name: str, context: AnalysisContext) -> HeadMetric:
    names = [
        other
        for other, metric in context.head_metrics.items()
        if all(metric.needs <= file.offers for file in context.patterns)
    ]
    if name not in names:
        raise UsageError(f"There is no head metric {name!r} for these patterns.", f"Available: {', '.join(names)}.")
    return context.head_metrics[name]


def _comparable(context: AnalysisContext, measured: Measured) -> Measured:
    """The students that read what the first one read, and have the same layers and heads."""
    if context.patterns:
        first = context.patterns[0]
        return {file.name: measured[file.name] for file in context.patterns if file.reads_like(first)}
    shapes = {name: next(iter(values.values())).shape for name, values in measured.items()}
    first_shape = next(iter(shapes.values()))
    return {name: values for name, values in measured.items() if shapes[name] == first_shape}


def _difference_table(
    comparisons: list[Comparison], deciding: list[Comparison], threshold: Threshold, rounding: Mapping[str, float]
) -> dict[str, pd.DataFrame]:
    if not comparisons:
        return {}
    found = {f"{comparison.arm} {comparison.metric}": verdicts(comparison, threshold) for comparison in deciding}
    table = tables.differences(comparisons, found)
    return {"differences": table.assign(rounding=table["metric"].map(rounding)) if rounding else table}


def _rounding(context: AnalysisContext, measured: Measured) -> dict[str, float]:
    """What rounding may change in the difference between two students, by metric; empty for students in float32."""
    if context.patterns or context.dtype == "float32":
        return {}
    names = next(iter(measured.values()))
    return metric_rounding(context, {name: context.head_metrics[name] for name in names})


def _rounding_sentences(
    deciding: Sequence[Comparison], rounding: Mapping[str, float], dtype: str, unit: str
) -> list[str]:
    """How many heads changed less than rounding may change them, arm by arm."""
    differences = {comparison.arm: comparison.effect.value for comparison in deciding}
    if not rounding or not differences:
        return []
    metric = deciding[0].metric
    return rounding_sentences(differences, rounding[metric], dtype, unit, metric)


def _maps(measured: Measured, deciding: list[Comparison], metric: HeadMetric) -> list[Figure]:
    first = next(iter(measured))
    values = means_over_problems(measured[first][metric.name]).value
    return [
        head_map(f"{metric.summary} by head: {first}", values, metric.unit),
        *change_maps(
            {comparison.arm: comparison.effect.value for comparison in deciding},
            metric.name,
            first,
            metric.unit,
        ),
    ]


def _attention_tables(
    context: AnalysisContext, measured: Measured, deciding: list[Comparison], metric: HeadMetric
) -> dict[str, pd.DataFrame]:
    """What heads attend to.

    The leading heads are those whose deciding metric changed most in any arm or, without other arms, is highest.
    """
    if not context.students:
        return {}
    values = [np.abs(comparison.effect.value) for comparison in deciding]
    values = values or [effects(measured, metric.name)[next(iter(measured))]]
    return attention_tables(context, ranked(np.max(values, axis=0)))


def _check_table(context: AnalysisContext) -> dict[str, pd.DataFrame]:
    checks = _checks(context)
    rows = [{"student": name, **errors} for name, errors in checks.items()]
    return {"self_check": pd.DataFrame(rows)} if rows else {}


def _check_sentence(context: AnalysisContext) -> list[str]:
    errors = [error for check in _checks(context).values() for error in check.values()]
    if not errors:
        return []
    return [f"TransformerLens agrees with Hugging Face on every student (largest difference {max(errors):.1g})."]


def _checks(context: AnalysisContext) -> Mapping[str, Mapping[str, float]]:
    return context.bridges.errors if context.students else {}


def _means_sentence(measured: Measured, metric: HeadMetric, seed: int) -> str:
    means = []
    for name, values in measured.items():
        mean = means_over_problems(known_mean(values[metric.name], (1, 2)), seed)
        interval = f" ({mean.low:.4f} to {mean.high:.4f})" if mean.low == mean.low else ""
        means.append(f"{name} {mean.value:.4f}{interval}")
    problems = len(next(iter(measured.values()))[metric.name])
    over = f" and {problems} problems" if problems > 1 else ", on one prompt"
    has_unit = metric.unit and not metric.summary.lower().startswith(metric.unit.lower())
    unit = f" in {metric.unit}" if has_unit else ""
    return f"{metric.summary}{unit}, averaged over all heads{over}: {', '.join(means)}."
