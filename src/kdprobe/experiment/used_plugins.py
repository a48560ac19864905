"""The plugins that an experiment uses, and what to know about their students."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.experiment.config import Experiment
from kdprobe.experiment.stages.adapter_card import caution_of
from kdprobe.host.provider import Provider
from kdprobe.host.registry import Host
from kdprobe.host.specs import StrategySpec
from kdprobe.teachers.teacher import CautionedTeacher, Teacher


def cautions(experiment: Experiment, host: Host, teacher: Teacher | None) -> Iterator[str]:
    """What everyone who sees the run's students must know; `teacher` is the one they learn from, if any."""
    if isinstance(teacher, CautionedTeacher) and teacher.caution:
        yield teacher.caution
    if caution := caution_of(host, experiment.distill.name):
        yield caution
    for strategy in experiment.strategies:
        spec = host.get("strategies", strategy.name).spec
        if isinstance(spec, StrategySpec) and spec.student_sees_gold:
            yield (
                f"The strategy {strategy.display_name!r} shows students the gold answer in training but not in "
                "testing, so they may learn only to copy it."
            )


def plugins_used(experiment: Experiment, host: Host) -> dict[str, dict[str, str]]:
    """KIND/NAME of everything used, mapped to its plugin, version and source."""
    entries = [
        ("problem-sources", experiment.problems.source),
        ("teachers", experiment.teacher.name),
        ("distillers", experiment.distill.name),
        *(("strategies", strategy.name) for strategy in experiment.strategies),
        *(("analyses", analysis.name) for analysis in experiment.probe.analyses),
        *([("distillers", "fine-tune")] if experiment.controls.fine_tuned else []),
        *(("tasks", task.name) for task in experiment.evaluation.benchmarks if task.name in host.names("tasks")),
        ("engines", experiment.evaluation.engine),
        *(("extractors", name) for name in host.unique_names("extractors")),
    ]
    return {f"{kind}/{name}": _provenance(host.get(kind, name).provider) for kind, name in entries}


def plugins_loaded(host: Host) -> list[dict[str, str]]:
    """All plugins loaded in the process, used or not: distribution or file, version and source of each."""
    return [
        {"package": provider.source, **_provenance(provider)} for provider in host.providers if provider.status == "ok"
    ]


def _provenance(provider: Provider) -> dict[str, str]:
    """Identifies a plugin in the record; keys use `plugin_key`."""
    return {"plugin": provider.name, "version": provider.version, "source": provider.source_hash}
