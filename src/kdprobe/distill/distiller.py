"""What a distiller is given and what it leaves behind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from kdprobe.errors import NonFiniteError
from kdprobe.models.reference import Dtype, ModelRecord
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair

if TYPE_CHECKING:
    from kdprobe.distill.alignment import Alignment
    from kdprobe.teachers.teacher import Teacher
    from kdprobe.transfer.transfer_set import TransferSet

DIVERGED = "Lower the learning rate, or clip gradients; where distill.dtype is float16, use bfloat16 or float32."
"""What to do about a training that diverged."""
Need = Literal["responses", "gold", "teacher"]
"""What a distiller may need: the teacher's transfer set, the worked gold solutions, the teacher itself."""


@dataclass(frozen=True)
class TrainContext:
    """Everything a distiller may use.

    Attributes:
        student: The base model.
        dtype: Data type of the frozen base; the adapter trains in float32.
        problems: The transfer problems.
        conversations: Problem id to its two conversations.
        transfer: What the teacher left behind, for a distiller that needs `responses`.
        teacher: The teacher itself, for a distiller that needs `teacher`; its weights are loaded when it is asked.
        seed: Of initialisation and data order.
        folder: Where the adapter goes.
        label: How progress calls this arm.
        scratch: A folder that survives a kill and is gone after success, or `None`: for checkpoints. Several processes
            that train together share it; `folder` is each one's own, and the main one's counts.
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
    """What training left behind.

    Attributes:
        adapter: The folder of the LoRA adapter.
        history: One row per optimiser step: step, loss and its parts, learning rate; where the held-out examples were
            looked at, `validation_loss`.
        adapter_norm: Frobenius norm of the change of all weights together; 0 means that nothing moved.
        relative_change: That norm over the norm of the base weights that changed; `None` where nobody looked.
        stopped_early: Whether it ended before its schedule.
        best_step: The step whose weights were kept, where that was chosen by the validation loss.
        alignment: Whether positions, labels and the teacher's rows belong together; `None` where nobody looked.
    """

    adapter: Path
    history: list[dict[str, float]] = field(default_factory=list)
    adapter_norm: float = 0.0
    relative_change: float | None = None
    stopped_early: bool = False
    best_step: int | None = None
    alignment: Alignment | None = None


def refuse_diverged(trained: Trained) -> None:
    """Refuses a training in which a number came to be NaN or infinite.

    Raises:
        NonFiniteError: It did: in the history, or in the adapter.
    """
    from safetensors import safe_open

    from kdprobe.models.merging.files import WEIGHTS
    from kdprobe.models.weights import not_finite

    for index, row in enumerate(trained.history, start=1):
        if broken := [name for name, value in row.items() if not math.isfinite(value)]:
            step = int(row.get("step", index))
            raise NonFiniteError(
                f"The {broken[0].replace('_', ' ')} is {row[broken[0]]} at step {step} of the training.",
                DIVERGED,
                step=step,
            )
    last = len(trained.history)
    message = f"The adapter's weights are NaN or infinite after step {last}, the last one."
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
            What is not named is not there: without `responses` no transfer set is captured.
    """

    needs: frozenset[Need]

    def train(self, context: TrainContext) -> Trained:
        """Trains and writes the adapter into `context.folder`.

        Raises:
            NonFiniteError: The training diverged, at its `step`; an experiment records it and goes on without the
                student.
        """
        ...

    def temperatures(self) -> tuple[float, ...]:
        """The temperatures at which it compares with the teacher's distribution, token by token.

        A transfer set holds the tail's mass at these, and teacher and student must share a tokenizer. Empty where it
        learns from text alone.
        """
        ...
