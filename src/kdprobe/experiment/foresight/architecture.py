"""What a model's modules lack: the target modules of an adapter, or the attention that an analysis examines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kdprobe.comparison.finding import Finding
from kdprobe.distill.targets import targets_text, with_target_names
from kdprobe.distill.training.recomputing import not_recomputable
from kdprobe.errors import UsageError
from kdprobe.experiment.foresight.options import trainings
from kdprobe.experiment.stages.context import StageContext
from kdprobe.models.outline.module_names import is_named
from kdprobe.words import these

_HEAD_ANALYSES = ("ablation", "circuits", "geometry", "patching")
"""kdprobe's own analyses that examine heads in the model itself rather than through attention patterns."""
_LAYER = re.compile(r"\.(\d+)\.")
_SHOWN = 8


def target_modules(context: StageContext) -> Iterator[UsageError | Finding]:
    """Adapters whose target modules the student lacks, entirely or in some layers."""
    student = context.student_modules
    keys: dict[tuple[str, ...], str] = {}
    refused: dict[str, UsageError] = {}
    for section, options, _ in trainings(context):
        key = f"{section}.lora.target_modules"
        try:
            lora = getattr(with_target_names(options, student.attention, context.student_blueprint.kind), "lora", None)
        except UsageError as error:
            refused.setdefault(error.message, UsageError(f"{key}: {error.message}", error.hint))
            continue
        if isinstance(targets := getattr(lora, "target_modules", None), list):
            keys.setdefault(tuple(targets), key)
    yield from refused.values()
    for targets, key in keys.items():
        yield from _targets(context, key, targets)


def recomputation(context: StageContext) -> Iterator[UsageError]:
    """Gradient checkpointing for an architecture without it."""
    wanted = any(getattr(options, "gradient_checkpointing", False) for _, options, _ in trainings(context))
    if wanted and not context.student_modules.recomputable:
        student = context.student_blueprint
        yield not_recomputable(student.record.name, student.kind)


def _targets(context: StageContext, key: str, targets: tuple[str, ...]) -> Iterator[UsageError | Finding]:
    student = context.student_blueprint
    modules = context.student_modules.linear
    matched = {target: [name for name in modules if is_named(name, target)] for target in targets}
    if absent := [target for target, names in matched.items() if not names]:
        present = [target for target, names in matched.items() if names]
        rest = f"only {', '.join(present)} would be trained" if present else "nothing would be trained"
        yield UsageError(
            f"{key}: the student {student.record.name!r} ({student.kind}) has no {', '.join(absent)}, so {rest}; "
            f"its linear layers are {', '.join(_kinds(modules))}.",
            f'Set {key} to some of these, to "attention", or to "all-linear".',
        )
        return
    layers = _layers(modules)
    trained = _layers([name for names in matched.values() for name in names])
    if layers - trained:
        untrained = sorted(layers - trained)
        shown = ", ".join(map(str, untrained[:_SHOWN])) + (" and more" if len(untrained) > _SHOWN else "")
        wanted, one = targets_text(targets), len(untrained) == 1
        yield Finding(
            "untrained-layers",
            f"{key}: {len(untrained)} of the student's {len(layers)} layers {'contains' if one else 'contain'} none of "
            f"{wanted} ({'layer' if one else 'layers'} {shown}).",
            f"To train {these(len(untrained), 'layer')} too, add {'its' if one else 'their'} modules; the model has "
            f"{', '.join(_kinds(modules))}.",
        )


def _kinds(modules: Sequence[str]) -> list[str]:
    """The last part of each module name in a layer, without repetition."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in modules if _LAYER.search(name)))


def _layers(modules: Sequence[str]) -> set[int]:
    return {int(found[1]) for name in modules if (found := _LAYER.search(name))}


def blind_analyses(context: StageContext) -> Iterator[UsageError]:
    """Analyses of heads in an architecture where kdprobe finds none."""
    names = [
        analysis.name
        for analysis in context.experiment.probe.analyses
        if analysis.name in _HEAD_ANALYSES
        or "patterns" in context.host.create("analyses", analysis.name, analysis.options).needs
    ]
    if names and (headless := context.student_modules.headless):
        message, hint = headless
        yield UsageError(f"probe.analyses ({', '.join(names)}): {message}", hint)
