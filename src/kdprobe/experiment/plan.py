"""Turns a config into the graph of stages, without running any of them.

Problems are drawn and conversations rendered here: both are cheap, and their digests are part of the keys.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kdprobe.comparison.finding import Finding
from kdprobe.experiment.arm_names import student_name
from kdprobe.experiment.config import Experiment, to_data
from kdprobe.experiment.evaluations.planned import arm_tasks, planned_tasks
from kdprobe.experiment.foresight.evidence import planned_families, too_little_evidence
from kdprobe.experiment.foresight.foresee import foresee
from kdprobe.experiment.foresight.power import Power, planned_power
from kdprobe.experiment.foresight.retention import RetentionPower, hopeless_retention, retention_power
from kdprobe.experiment.parts.evaluate import evaluate_in_parts
from kdprobe.experiment.rendering import is_unprimed, render
from kdprobe.experiment.stages.adapter_card import dataset_of
from kdprobe.experiment.stages.analyse import analyse_stages, before_training
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.distill import FINE_TUNE, distill_stage, fine_tune_stage
from kdprobe.experiment.stages.lessons import Lessons
from kdprobe.experiment.stages.stage import Stage, with_parts
from kdprobe.experiment.stages.taught import select_stages, texts_first, transfer_stages
from kdprobe.experiment.used_plugins import cautions, plugins_loaded, plugins_used
from kdprobe.files import digest
from kdprobe.host.registry import Host
from kdprobe.models.outline.helpers import Helpers
from kdprobe.models.outline.memory import Memory
from kdprobe.models.public_names import with_hub_id
from kdprobe.models.reference import ModelRecord, resolve
from kdprobe.problems.draw import Draw, draw
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.students.student import FINE_TUNED, UNTRAINED, Student

if TYPE_CHECKING:
    from kdprobe.evaluation.tasks.load import DrawnTask


@dataclass(frozen=True)
class Arm:
    """Strategy x distiller x seed; controls have no strategy, and the untrained student has no distiller.

    Attributes:
        student: The student.
        strategy: The display name of the teacher's strategy, or `None`.
        distiller: The distiller's name, or `None`.
        transfer: The stage with the teacher's answers, or `None`.
        select: The stage that selects answers to train on, or `None`.
        distill: The training stage, or `None`.
        evaluate: The evaluation stage.
        unprimed: Whether the teacher reads the bare question for every transfer problem.
        tasks: The stage of each task besides the deciding one, by its name.
    """

    student: Student
    strategy: str | None
    distiller: str | None
    transfer: Stage | None
    select: Stage | None
    distill: Stage | None
    evaluate: Stage
    unprimed: bool = False
    tasks: Mapping[str, Stage] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """An experiment, ready to run.

    Attributes:
        experiment: Its config.
        run: The run's name: the experiment's name and a digest of everything that determines the run.
        draw: The drawn problems.
        student: The base model.
        conversations: Conversations by strategy and problem id.
        arms: All arms, controls first.
        analyses: Analysis stages by name.
        stages: All stages; each comes after its inputs.
        plugins: The plugins that provide what is used.
        loaded: All plugins loaded in this process.
        dataset: The id on the Hub of the data set that the problems are from, if the source declares one.
        cautions: What everyone who sees this run's students must know.
        host: The plugins that it was made with.
        findings: Known reasons why the run may be a waste of time.
        power: The smallest differences that its comparisons could show; `None` if it compares nothing.
        context: What its stages are based on, with what they load of the students.
        retention: The power to show that students retain a task, for each retention task.
        tasks: The tasks besides the deciding one, with their data.
    """

    experiment: Experiment
    run: str
    draw: Draw
    student: ModelRecord
    conversations: dict[str, dict[str, PromptPair]]
    arms: tuple[Arm, ...]
    analyses: dict[str, Stage]
    stages: tuple[Stage, ...]
    plugins: dict[str, dict[str, str]]
    loaded: list[dict[str, str]]
    dataset: str | None
    cautions: tuple[str, ...]
    host: Host
    findings: tuple[Finding, ...]
    power: Power | None
    context: StageContext = field(repr=False, compare=False)
    retention: tuple[RetentionPower, ...] = ()
    tasks: tuple[DrawnTask, ...] = field(default=(), repr=False, compare=False)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Skips the search for cycles of garbage, of which plans leave hardly any; it takes an eighth of their time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collection()
def make_plan(experiment: Experiment, host: Host, memory: Memory | None = None, helpers: Helpers | None = None) -> Plan:
    """Draws the problems, renders the conversations and lays out the stages.

    Args:
        experiment: Its config.
        host: The plugins.
        memory: What earlier plans found out; by default nothing, as for runs, which read everything anew.
        helpers: Where models and tokenizers are examined; by default in this process.

    Raises:
        KdprobeError: A model, file or plugin named in the config does not exist, problems overlap, or the run would
            foreseeably fail later.
    """
    student = resolve(experiment.student.model, experiment.student.revision, experiment.student.quantization)
    student = replace(with_hub_id(student, experiment.student.hub_id), placement=experiment.student.placement)
    student = replace(student, conversation=experiment.conversation.conversation)
    problems = experiment.problems
    source = host.create("problem-sources", problems.source, problems.options)
    drawn = draw(source, transfer=problems.transfer, test=problems.test)
    conversations = {each.display_name: render(host, each, drawn.transfer) for each in experiment.strategies}
    context = StageContext(experiment, host, student, drawn, memory=memory or Memory(), helpers=helpers)
    findings = foresee(context, conversations)
    transfers = transfer_stages(context, conversations)
    selections = select_stages(context, transfers)
    arms = _controls(context, selections)
    for seed in experiment.seeds:
        for strategy in experiment.strategies:
            label = strategy.display_name
            taught = conversations[label], transfers.get(label), selections.get(label)
            arms.append(_distilled(context, label, seed, *taught))
    benchmarks = planned_tasks(experiment, host)
    arms = [replace(arm, tasks=arm_tasks(context, arm.student, arm.distill, benchmarks)) for arm in arms]
    compared, tested = planned_families(arms), len(drawn.test)
    power = planned_power(
        compared, tested, len(experiment.seeds), context.memory, experiment.evaluation.samples, helpers=helpers
    )
    findings += too_little_evidence(arms, compared, tested, power)
    retention = retention_power(experiment, benchmarks)
    findings += hopeless_retention(retention)
    arm_stages = [(arm.student, arm.distill, arm.evaluate) for arm in arms]
    analyses = analyse_stages(context, arm_stages, Lessons(context, conversations, transfers))
    early = [stage for stage in analyses.values() if before_training(stage)]
    listed = [
        *texts_first(transfers),
        *early,
        *{stage.key: stage for stage in selections.values()}.values(),
        *(arm.distill for arm in arms if arm.distill),
        *(arm.evaluate for arm in arms),
        *(stage for task in benchmarks for arm in arms for name, stage in arm.tasks.items() if name == task.name),
        *(stage for stage in analyses.values() if stage not in early),
    ]
    ordered = [*with_parts(listed)]
    identity = digest({"config": to_data(experiment), "keys": [stage.key for stage in ordered]})
    return Plan(
        experiment=experiment,
        run=f"{experiment.name}-{identity[:8]}",
        draw=drawn,
        student=student,
        conversations=conversations,
        arms=tuple(arms),
        analyses=analyses,
        stages=tuple(ordered),
        plugins=plugins_used(experiment, host),
        loaded=plugins_loaded(host),
        dataset=dataset_of(host, problems.source),
        cautions=tuple(cautions(experiment, host, context.teacher if context.uses_teacher else None)),
        host=host,
        findings=tuple(findings),
        power=power,
        context=context,
        retention=tuple(retention),
        tasks=tuple(benchmarks),
    )


def _controls(context: StageContext, selections: Mapping[str, Stage]) -> list[Arm]:
    experiment = context.experiment
    # The control sees the same problems as the others; if each arm has its own selection, there is none to follow.
    matched = next(iter(selections.values()), None) if experiment.transfer.filter == "matched" else None
    arms = []
    if experiment.controls.untrained:
        student = Student(UNTRAINED, context.student)
        arms.append(Arm(student, None, None, None, None, None, evaluate_in_parts(context, student, None)))
    if experiment.controls.fine_tuned:
        for seed in experiment.seeds:
            student = _student(context, FINE_TUNED, seed)
            distill = fine_tune_stage(context, student.name, seed, selected=matched)
            evaluate = evaluate_in_parts(context, student, distill)
            arms.append(Arm(student, None, FINE_TUNE, None, matched, distill, evaluate))
    return arms


def _distilled(  # noqa: PLR0917
    context: StageContext,
    strategy: str,
    seed: int,
    conversations: Mapping[str, PromptPair],
    transfer: Stage | None,
    selected: Stage | None,
) -> Arm:
    student = _student(context, strategy, seed)
    distill = distill_stage(
        context,
        student.name,
        seed,
        strategy=strategy,
        conversations=conversations,
        transfer=transfer,
        selected=selected,
    )
    evaluate = evaluate_in_parts(context, student, distill)
    distiller, unprimed = context.experiment.distill.name, is_unprimed(conversations, context.problems.transfer)
    return Arm(student, strategy, distiller, transfer, selected, distill, evaluate, unprimed=unprimed)


def _student(context: StageContext, arm: str, seed: int) -> Student:
    """A student of an arm before training."""
    return Student(student_name(arm, seed, context.experiment.seeds), context.student, arm=arm, seed=seed)
