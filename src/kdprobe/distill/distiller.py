"""What a distiller is given and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from kdprobe.models.reference import Dtype, ModelRecord
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair

if TYPE_CHECKING:
    from kdprobe.transfer.transfer_set import TransferSet

Need = Literal["responses", "gold"]


@dataclass(frozen=True)
class TrainContext:
    """Everything a distiller may use.

    Attributes:
        student: The base model.
        dtype: Data type of the frozen base; the adapter trains in float32.
        problems: The transfer problems.
        conversations: Problem id to its two conversations.
        transfer: What the teacher left behind, or `None` for a distiller that does not need it.
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
        stopped_early: Whether it ended before its schedule.
        best_step: The step whose weights were kept, where that was chosen by the validation loss.
    """

    adapter: Path
    history: list[dict[str, float]] = field(default_factory=list)
    adapter_norm: float = 0.0
    stopped_early: bool = False
    best_step: int | None = None


class Distiller(Protocol):
    """Trains a LoRA adapter for a student.

    Attributes:
        needs: `responses` for the teacher's transfer set, `gold` for the worked solutions.
    """

    needs: frozenset[Need]

    def train(self, context: TrainContext) -> Trained:
        """Trains and writes the adapter into `context.folder`."""
        ...

    def temperatures(self) -> tuple[float, ...]:
        """The temperatures at which the transfer set must hold the tail's mass."""
        ...
