"""From a config to the graph of stages, without doing any of them.

Problems are drawn and conversations rendered here: both are cheap, and their digests belong into the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kdprobe.comparison.finding import Finding
from kdprobe.experiment.arm_names import student_name
from kdprobe.experiment.config import Experiment, to_data
from kdprobe.experiment.config_checks import GOLD, OWN
from kdprobe.experiment.foresight.evidence import too_little_evidence
from kdprobe.experiment.foresight.foresee import foresee
from kdprobe.experiment.rendering import is_unprimed, render
from kdprobe.experiment.stages.analyse import analyse_stage
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.distill import FINE_TUNE, distill_stage, fine_tune_stage
from kdprobe.experiment.stages.evaluate import evaluate_stage
from kdprobe.experiment.stages.select import select_stage
from kdprobe.experiment.stages.transfer import transfer_stage
from kdprobe.experiment.store import Stage
from kdprobe.experiment.used_plugins import cautions, plugins_loaded, plugins_used
from kdprobe.files import digest
from kdprobe.host.registry import Host
from kdprobe.models.reference import ModelRecord, resolve
from kdprobe.problems.draw import Draw, draw
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.students.pool import StudentPool
from kdprobe.students.student import Student

UNTRAINED = "untrained"
FINE_TUNED = "fine-tuned"


@dataclass(frozen=True)
class Arm:
    """Strategy x distiller x seed; controls have no strategy, the untrained student has no distiller.

    Attributes:
        student: Who learns.
        strategy: What the run calls the teacher's strategy, or `None`.
        distiller: Its name, or `None`.
        transfer: What the teacher left, or `None`.
        select: Which of it is learnt from, or `None`.
        distill: The training, or `None`.
        evaluate: The examination.
        unprimed: Whether the teacher read the bare question at every transfer problem.
    """

    student: Student
    strategy: str | None
    distiller: str | None
    transfer: Stage | None
    select: Stage | None
    distill: Stage | None
    evaluate: Stage
    unprimed: bool = False


@dataclass(frozen=True)
class Plan:
    """An experiment, ready to run.

    Attributes:
        experiment: Its config.
        run: The run's name: the experiment's, and a digest of everything that decides it.
        draw: The problems.
        student: The base model.
        conversations: Strategy to problem id to conversations.
        arms: All arms, controls first.
        analyses: Analysis name to its stage.
        stages: All stages, in an order in which each comes after its inputs.
        plugins: Who provides what was used.
        loaded: All plugins of the process.
        cautions: What everybody must know who sees this run's students.
        pool: What its stages load of the students.
        findings: What may make it worth less than it costs, known before it starts.
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
    cautions: tuple[str, ...]
    pool: StudentPool
    findings: tuple[Finding, ...]


def make_plan(experiment: Experiment, host: Host) -> Plan:
    """Draws the problems, renders the conversations and lays out the stages.

    Raises:
        KdprobeError: A model, a file or a plugin that the config names is not there, problems overlap, or the run would
            fail later, as far as that can be known now.
    """
    student = resolve(experiment.student.model, experiment.student.revision)
    student = replace(student, conversation=experiment.conversation.conversation)
    problems = experiment.problems
    source = host.create("problem-sources", problems.source, problems.options)
    drawn = draw(source, transfer=problems.transfer, test=problems.test)
    conversations = {
        strategy.display_name: render(host, strategy, drawn.transfer) for strategy in experiment.strategies
    }
    context = StageContext(experiment, host, student, drawn)
    findings = foresee(context, conversations)
    transfers = transfer_stages(context, conversations)
    selections = select_stages(context, transfers)
    arms = _controls(context, selections)
    for seed in experiment.seeds:
        for strategy in experiment.strategies:
            label = strategy.display_name
            arms.append(
                _distilled(context, label, seed, conversations[label], transfers.get(label), selections.get(label))
            )
    findings += too_little_evidence(arms, len(drawn.test))
    arm_stages = [(arm.student, arm.distill, arm.evaluate) for arm in arms]
    analyses = {
        analysis.name: analyse_stage(context, analysis.name, analysis.options, arm_stages)
        for analysis in experiment.probe.analyses
    }
    ordered = [
        *texts_first(transfers),
        *{stage.key: stage for stage in selections.values()}.values(),
        *(arm.distill for arm in arms if arm.distill),
        *(arm.evaluate for arm in arms),
        *analyses.values(),
    ]
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
        cautions=tuple(cautions(experiment, host)),
        pool=context.pool,
        findings=tuple(findings),
    )


def transfer_stages(
    context: StageContext, conversations: Mapping[str, Mapping[str, PromptPair]], temperatures: tuple[float, ...] = ()
) -> dict[str, Stage]:
    """A transfer set for each strategy, where the distiller learns from one.

    Args:
        context: The experiment.
        conversations: Strategy to problem id to conversations.
        temperatures: At which the tail is kept besides those that the distiller plans.
    """
    if "responses" not in context.distiller.needs:
        return {}
    label = context.experiment.transfer.texts
    texts = None
    if label in conversations and label not in {OWN, GOLD}:
        texts = transfer_stage(context, label, conversations[label], temperatures=temperatures)
    return {
        strategy: texts
        if texts and strategy == label
        else transfer_stage(context, strategy, rendered, texts=texts, temperatures=temperatures)
        for strategy, rendered in conversations.items()
    }


def select_stages(context: StageContext, transfers: Mapping[str, Stage]) -> dict[str, Stage]:
    """Which answers each strategy's students learn from, where that is not all of them."""
    match context.experiment.transfer.filter:
        case "matched" if transfers:
            return dict.fromkeys(transfers, select_stage(context, transfers))
        case "correct":
            return {strategy: select_stage(context, {strategy: stage}) for strategy, stage in transfers.items()}
        case _:
            return {}


def texts_first(transfers: Mapping[str, Stage]) -> list[Stage]:
    """Transfer sets, those first that others read."""
    return sorted(transfers.values(), key=lambda stage: len(stage.inputs))


def _controls(context: StageContext, selections: Mapping[str, Stage]) -> list[Arm]:
    experiment = context.experiment
    # The control sees the problems that the others see; a selection of each arm's own gives it none to go by.
    matched = next(iter(selections.values()), None) if experiment.transfer.filter == "matched" else None
    arms = []
    if experiment.controls.untrained:
        student = Student(UNTRAINED, context.student)
        arms.append(Arm(student, None, None, None, None, None, evaluate_stage(context, student, None)))
    if experiment.controls.fine_tuned:
        for seed in experiment.seeds:
            student = _student(context, FINE_TUNED, seed)
            distill = fine_tune_stage(context, student.name, seed, selected=matched)
            evaluate = evaluate_stage(context, student, distill)
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
    evaluate = evaluate_stage(context, student, distill)
    return Arm(
        student,
        strategy,
        context.experiment.distill.name,
        transfer,
        selected,
        distill,
        evaluate,
        unprimed=is_unprimed(conversations, context.problems.transfer),
    )


def _student(context: StageContext, arm: str, seed: int) -> Student:
    """A student of an arm before it is trained."""
    return Student(student_name(arm, seed, context.experiment.seeds), context.student, arm=arm, seed=seed)
