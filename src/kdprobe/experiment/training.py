"""The stage in which a student is trained, and the student that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.experiment.environment import environment
from kdprobe.experiment.identities import Identities
from kdprobe.experiment.selecting import SELECTION
from kdprobe.experiment.store import Stage, digest, read_json, write_json
from kdprobe.host.registry import Host
from kdprobe.host.specs import DistillerSpec
from kdprobe.models import processes
from kdprobe.strategies.prompt_pair import PromptPair

if TYPE_CHECKING:
    from kdprobe.students.student import Student

FORMAT = 3
ADAPTER = "adapter"
TRAINING = "training.json"
FINE_TUNE = "fine-tune"
"""The distiller of the control."""


def train_stage(
    of: Identities,
    arm: str,
    seed: int,
    *,
    distiller: tuple[str, dict[str, Any]],
    transfer: Stage | None,
    selected: Stage | None,
    conversations: Mapping[str, PromptPair],
    strategy: dict[str, str] | None,
) -> Stage:
    """A student is trained.

    Args:
        of: The experiment.
        arm: What the student is called.
        seed: Of its training.
        distiller: Its name and options.
        transfer: What a teacher left behind, where the distiller needs that.
        selected: Which answers, or problems, are learned from; all where there is no selection.
        conversations: Problem id to what the student reads, and what its teacher does.
        strategy: The plugin that rendered them, if one did.
    """
    name, options = distiller
    validated = of.host.options("distillers", name, options)
    built = of.host.build("distillers", name, validated)
    caution = caution_of(of.host, name)
    teacher = None
    if "teacher" in built.needs:
        teacher = of.host.make("teachers", of.experiment.teacher.name, of.experiment.teacher.options)
    settings = {
        "format": FORMAT,
        "distiller": name,
        "distiller_plugin": of.plugin("distillers", name),
        "options": validated.model_dump(mode="json") if validated else {},
        "student": of.student.as_provenance(),
        "dtype": of.experiment.distill.dtype,
        "seed": seed,
        # The batch size is per process.
        "processes": processes.count(),
        "problems": of.problems(of.drawn.transfer),
        "strategy": strategy,
        "student_conversations": digest({id_: pair.student for id_, pair in conversations.items()}),
        **(of.teacher(teacher, conversations) if teacher else {}),
        "environment": environment("torch", "transformers", "peft"),
    }

    def work(folder: Path, inputs: list[Path], scratch: Path) -> None:
        from kdprobe.distill.distiller import TrainContext
        from kdprobe.transfer.transfer_set import read

        taught = read(inputs[0]) if transfer else None
        problems = of.drawn.transfer
        if selected:
            kept = read_json(inputs[-1] / SELECTION)
            answers = {(id_, sample) for id_, sample in kept[inputs[0].name if transfer else next(iter(kept))]}
            problems = tuple(problem for problem in problems if problem.id in {id_ for id_, _ in answers})
            taught = taught.only(answers) if taught else None
        trained = built.train(
            TrainContext(
                student=of.student,
                dtype=of.experiment.distill.dtype,
                problems=problems,
                conversations=conversations,
                transfer=taught,
                teacher=teacher,
                seed=seed,
                folder=folder / ADAPTER,
                label=f"Training {arm}" if name == FINE_TUNE else f"Distilling {arm}",
                scratch=scratch,
            )
        )
        books = {name: value for name, value in asdict(trained).items() if name != "adapter"}
        write_json(folder / TRAINING, {"caution": caution} | books)

    return Stage("distill", arm, settings, tuple(stage for stage in (transfer, selected) if stage), work)


def student_of(of: Identities, arm: str, trained: Sequence[Path]) -> Student:
    """The student of an arm: with the adapter in the folder of its training, or untouched where there is none."""
    from kdprobe.students.student import Student

    return Student(arm, of.student, trained[0] / ADAPTER if trained else None)


def caution_of(host: Host, distiller: str) -> str:
    """What everybody must know who sees a distiller's students; empty for most."""
    spec = host.get("distillers", distiller).spec
    return spec.caution if isinstance(spec, DistillerSpec) else ""
