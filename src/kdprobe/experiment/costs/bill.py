"""The bill of an experiment: what each of its stages takes, where that is known from, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kdprobe.distill.training.launch import is_sharded
from kdprobe.errors import KdprobeError, first_line
from kdprobe.experiment.costs.analysing import changes_mlps
from kdprobe.experiment.costs.devices import CPU, Devices, core, installed, named, parse
from kdprobe.experiment.costs.fit import misfits
from kdprobe.experiment.costs.lengths import TaskLengths, mean_answer, task_lengths, text_lengths
from kdprobe.experiment.costs.piece import Basis, Piece, StageCost, Use
from kdprobe.experiment.costs.rates import Rates
from kdprobe.experiment.costs.stages import CostModel
from kdprobe.experiment.foresight.estimates import Estimate, Estimates
from kdprobe.experiment.plan import Plan
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.store import Store
from kdprobe.models import processes
from kdprobe.models.outline.sizes import Sizes, sizes
from kdprobe.models.reference import ModelRecord, resolve
from kdprobe.teachers.local import LocalTeacher
from kdprobe.teachers.teacher import RenderingTeacher
from kdprobe.words import enumerated

_HOUR = 3600


@dataclass(frozen=True)
class Bill:
    """What an experiment takes.

    Attributes:
        stages: What each stage takes, by key; those that cannot be predicted are left out.
        misfits: What does not fit into memory, and what to change.
        assumptions: What the numbers rest on, and what prevents others.
    """

    stages: Mapping[str, StageCost]
    misfits: tuple[str, ...]
    assumptions: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """The bill without the stages, ready for JSON."""
        return {"misfits": [*self.misfits], "assumptions": [*self.assumptions]}

    def of(self, stage: Stage) -> dict[str, Any] | None:
        """What a stage takes, ready for JSON."""
        cost = self.stages.get(stage.key)
        return asdict(cost) if cost else None

    def estimate(self, stage: Stage) -> Estimate | None:
        """The duration and the size of a stage."""
        cost = self.stages.get(stage.key)
        return Estimate(cost.seconds, cost.disk, cost.based_on, stage.units) if cost else None


def make_bill(plan: Plan, store: Store, manifests: list[dict[str, Any]], estimates: Estimates) -> Bill:
    """Predicts what the stages of a plan take, done ones included; no weights are read.

    Args:
        plan: The plan.
        store: The store, with finished stages.
        manifests: The manifests of these stages.
        estimates: Estimates by finished stages that are like planned ones.
    """
    assumptions: list[str] = []
    student = _sizes(plan.context.student, plan.context, "student", assumptions)
    if student is None:
        return Bill({}, (), tuple(assumptions))
    teacher = _teacher(plan.context, assumptions)
    model = _model(plan, student, teacher, mean_answer(store, manifests, plan), assumptions)

    def devices(kind: str, settings: Mapping[str, Any]) -> Devices | None:
        return _devices(plan, kind, settings)

    rates = Rates(manifests, model, devices)
    strategies = dict(_strategies(plan))
    stages, uses, homeless = {}, [], set()
    for stage in plan.stages:
        piece = Piece(stage.kind, stage.settings, stage.units, strategies.get(stage.key), follows=bool(stage.inputs))
        held = devices(stage.kind, stage.settings)
        if held is None:
            homeless.add(stage.kind)
        elif use := model.use(piece, held):
            uses.append((stage.kind, use))
            stages[stage.key] = _cost(use, held, piece, estimates.of(stage), rates)
    if homeless:
        assumptions.append(
            f"The devices for {enumerated(sorted(homeless))} are unknown: name them in [resources], as in "
            'devices = { distill = "h100" }.'
        )
    return Bill(stages, tuple(misfits(uses)), tuple(assumptions))


def _cost(use: Use, held: Devices, piece: Piece, like: Estimate | None, rates: Rates) -> StageCost:
    basis: Basis = "shapes"
    seconds, disk, based_on = use.seconds, use.disk, 0
    if like:
        disk = like.size
    # The work of an analysis need not grow with its problems and students: options may limit both.
    if like and piece.kind != "analyse":
        seconds, basis, based_on = like.seconds, "like stages", like.basis
    elif use.runner and (rate := rates.of(piece)):
        seconds, basis, based_on = seconds * rate.factor, "rate", rate.basis
    return StageCost(
        devices=held.words,
        tokens_read=round(use.read),
        tokens_written=round(use.written),
        seconds=seconds,
        device_hours=seconds * held.count / _HOUR if use.runner else 0.0,
        memory=round(use.memory),
        disk=round(disk),
        basis=basis,
        based_on=based_on,
    )


def _model(
    plan: Plan, student: Sizes, teacher: Sizes | None, answer: float | None, assumptions: list[str]
) -> CostModel:
    experiment, context = plan.experiment, plan.context
    budgets = experiment.transfer.max_new_tokens, experiment.evaluation.max_new_tokens
    stated = experiment.resources.answer_tokens
    if stated:
        assumptions.append(f"Answers have {stated} tokens on average, as [resources] states.")
    elif answer:
        assumptions.append(f"The teacher's answers have {answer:.0f} tokens on average, as in finished stages.")
    else:
        assumptions.append(
            "Answers are assumed to use their whole token budget. If you expect shorter ones, set `answer_tokens` in "
            "[resources]."
        )
    served, fused_teacher = None, False
    if context.uses_teacher and isinstance(context.teacher, RenderingTeacher):
        fused_teacher = not isinstance(context.teacher, LocalTeacher)
    elif context.uses_teacher:
        served = int(getattr(getattr(context.teacher, "options", None), "concurrency", 1))
    record = getattr(context.teacher, "record", None) if context.uses_teacher else None
    placement = getattr(record, "placement", None)
    return CostModel(
        student,
        teacher,
        text_lengths(context, plan.conversations),
        answer=min(budgets[0], stated or answer or budgets[0]),
        student_answer=min(budgets[1], stated or budgets[1]),
        served=served,
        fused=experiment.evaluation.engine != "transformers",
        budgets=budgets,
        fused_teacher=fused_teacher,
        spread=context.student.placement is not None,
        spread_teacher=placement is not None,
        shards=_shards(assumptions),
        changes_mlps=changes_mlps(student, plan.stages),
        tasks=_tasks(plan),
    )


def _tasks(plan: Plan) -> dict[str, TaskLengths]:
    """What is read and written for the documents of the tasks besides the deciding one, where that is known."""
    found = {task.name: task_lengths(plan.context.student_reader.tokenizer, task) for task in plan.tasks}
    return {name: lengths for name, lengths in found.items() if lengths}


def _shards(assumptions: list[str]) -> int:
    """Processes among which this launch divides the student's weights in training."""
    count = processes.count()
    if not is_sharded() or count == 1:
        return 1
    assumptions.append(
        f"FSDP2 divides the student's weights among {count} processes in training. Each first reads all of them into "
        "main memory. The time for exchanging weights between devices is not counted."
    )
    return count


def _teacher(context: StageContext, assumptions: list[str]) -> Sizes | None:
    if not context.uses_teacher:
        return None
    if isinstance(context.teacher, RenderingTeacher):
        return _sizes(context.teacher_reader.record, context, "teacher", assumptions)
    served = context.experiment.resources.served_model
    if served is None:
        assumptions.append(
            "The cost of the served teacher is unknown: name its model, or a folder with its config.json, as "
            "`served_model` in [resources]."
        )
        return None
    return _sizes(resolve(served), context, "served model", assumptions)


def _sizes(record: ModelRecord, context: StageContext, subject: str, assumptions: list[str]) -> Sizes | None:
    try:
        found = sizes(record, context.memory, context.helpers)
    except (KdprobeError, ValueError, AttributeError, TypeError) as error:
        assumptions.append(
            f"The cost of the {subject} is unknown, because its sizes cannot be determined: {first_line(error)}"
        )
        return None
    if record.is_packed:
        assumptions.append(
            f"The weights of the {subject} are quantised ({record.quantisation}): those in the layers take "
            f"{found.bits:g} bits each."
        )
    return found


def _devices(plan: Plan, kind: str, settings: Mapping[str, Any]) -> Devices | None:
    """What a stage runs on: as the config states, else what this machine has."""
    if stated := plan.experiment.resources.devices.of(kind):
        return parse(stated)
    environment, count = settings.get("environment", {}), settings.get("processes", 1)
    device = environment.get("device", CPU)
    if device == CPU:
        return Devices(core(), environment.get("threads", 1) * count)
    found = named(device) or installed()
    return Devices(found, count) if found else None


def _strategies(plan: Plan) -> Iterator[tuple[str, str]]:
    """The strategy behind each stage of teaching and training."""
    for arm in plan.arms:
        if arm.strategy is not None:
            for stage in filter(None, (arm.transfer, arm.distill)):
                yield stage.key, arm.strategy
            if arm.transfer and "parts" in arm.transfer.settings:
                yield from ((part.key, arm.strategy) for part in arm.transfer.inputs)
