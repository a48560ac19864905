"""The interface of distillers: their input and their output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from kdprobe.errors import NonFiniteError
from kdprobe.models.reference import Dtype, ModelRecord
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair

if TYPE_CHECKING:
    from kdprobe.distill.alignment import Alignment
    from kdprobe.teachers.teacher import Teacher
    from kdprobe.transfer.transfer_set import TransferSet

DIVERGED = "Lower the learning rate, or clip gradients; if distill.dtype is float16, use bfloat16 or float32."
"""What to do about training that diverged."""
Need = Literal["responses", "gold", "teacher"]
"""What a distiller may need: the teacher's transfer set, the worked gold solutions, or the teacher itself."""


@dataclass(frozen=True)
class TrainContext:
    """Everything a distiller may use.

    Attributes:
        student: The base model.
        dtype: Data type of the frozen base; the adapter trains in float32.
        problems: The transfer problems.
        conversations: Problem id mapped to the two conversations.
        transfer: The teacher's answers, for a distiller that needs `responses`.
        teacher: The teacher itself, for a distiller that needs `teacher`; its weights are loaded on first use.
        seed: Seed of initialisation and data order.
        folder: The folder for the adapter.
        label: The arm's name in progress output.
        scratch: A folder for checkpoints, which survives a kill and is removed after success, or `None`. Processes that
            train together share it; `folder` is separate for each process, and only that of the main process counts.
    """

    student: ModelRecord
    dtype: Dtype
    problems: Sequence[Problem]
    conversations: Mapping[str, PromptPair]
    transfer: TransferSet | None
    seed: int
    folder: Path
    teacher: Teacher | None = None
    label: str = "Training"
    scratch: Path | None = None


@dataclass(frozen=True)
class Trained:
    """The result of training.

    Attributes:
        adapter: The folder of the LoRA adapter.
        history: One row per optimiser step: step, loss and its parts, learning rate; `validation_loss` on steps with a
            validation.
        adapter_norm: Frobenius norm of the change in all weights together; 0 means that nothing changed.
        relative_change: That norm relative to the norm of the changed base weights; `None` if not measured.
        stopped_early: Whether it ended before the end of its schedule.
        best_step: The step whose weights were kept, if chosen by the validation loss.
        alignment: Whether positions, labels and teacher rows belong together; `None` if not measured.
    """

    adapter: Path
    history: list[dict[str, float]] = field(default_factory=list)
    adapter_norm: float = 0.0
    relative_change: float | None = None
    stopped_early: bool = False
    best_step: int | None = None
    alignment: Alignment | None = None


def refuse_diverged(trained: Trained) -> None:
    """Rejects training that produced NaN or infinite numbers.

    Raises:
        NonFiniteError: The history or the adapter contains such numbers.
    """
    from safetensors import safe_open

    from kdprobe.models.merging.files import WEIGHTS
    from kdprobe.models.weights import not_finite

    for index, row in enumerate(trained.history, start=1):
        if broken := [name for name, value in row.items() if not math.isfinite(value)]:
            step = int(row.get("step", index))
            raise NonFiniteError(
                f"The {broken[0].replace('_', ' ')} is {row[broken[0]]} at training step {step}.",
                DIVERGED,
                step=step,
            )
    last = len(trained.history)
    message = f"The adapter's weights are NaN or infinite after the last step (step {last})."
    if not math.isfinite(trained.adapter_norm):
        raise NonFiniteError(message, DIVERGED, step=last)
    if (weights := trained.adapter / WEIGHTS).is_file():
        with safe_open(weights, "pt") as tensors:
            if not_finite((name, tensors.get_tensor(name)) for name in tensors.keys()):  # noqa: SIM118
                raise NonFiniteError(message, DIVERGED, step=last)


class Distiller(Protocol):
    """Trains a LoRA adapter for a student.

    Attributes:
        needs: `responses` for the teacher's transfer set, `gold` for the worked solutions, `teacher` for the teacher.
            Anything not named is not provided: without `responses` no transfer set is captured.
    """

    needs: frozenset[Need]

    def train(self, context: TrainContext) -> Trained:
        """Trains an adapter and writes it to `context.folder`.

        Raises:
            NonFiniteError: Training diverged, at the step given in `step`; an experiment records this and continues
                without the student.
        """
        ...

    def temperatures(self) -> tuple[float, ...]:
        """The temperatures at which it compares the student with the teacher's distribution, token by token.

        A transfer set contains the tail mass at these temperatures, and teacher and student must share a tokenizer.
        Empty if it learns only from text.
        """
        ...


@runtime_checkable
class AdaptiveDistiller(Distiller, Protocol):
    """A distiller that may learn from rows of different widths, captured with `transfer.tail`."""

    def takes_cut_rows(self) -> bool:
        """Whether rows cut to a small tail at its temperatures are enough.

        That holds if its only divergence is the forward KL with the tail as one cell: a teacher's tail of mass m
        changes the gradient with respect to the student's logits by at most 2 m / T in the sum of absolute values. It
        does not hold for divergences that weigh the student's tail. Rows are filled up with ids of -1 (`SparseRows`).
        """
        ...


@runtime_checkable
class SelectiveDistiller(Distiller, Protocol):
    """A distiller that cannot learn from every teacher."""

    def refuse_teacher(self, teacher: Teacher) -> None:
        """Checks a teacher, without loading its weights, when an experiment is planned.

        Raises:
            UsageError: It does not provide what the distiller needs.
        """
        ...
