"""The built-in distillers.

`logits` is sparse, prompt-primed KD, `sequence` learns only from the teacher's text, and `fine-tune` is the control on
gold solutions; `published` has its own module. Torch and PEFT take seconds to import and planning needs neither, so
functions import them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdprobe.distill.distiller import Need, TrainContext, Trained
from kdprobe.distill.examples import Example
from kdprobe.distill.lazy_examples import from_gold, from_transfer
from kdprobe.distill.options import LogitsOptions, TrainingOptions
from kdprobe.distill.sufficiency import refuse_insufficient
from kdprobe.errors import KdprobeError
from kdprobe.sequences import LazySequence

if TYPE_CHECKING:
    from kdprobe.distill.objectives import Objective
    from kdprobe.models.load import LoadedModel


class LogitsDistiller:
    """Matches the student's distribution to the primed teacher's at every response position."""

    needs: frozenset[Need] = frozenset({"responses"})

    def __init__(self, options: LogitsOptions) -> None:
        self.options = options

    def temperatures(self) -> tuple[float, ...]:
        """The temperature of the loss."""
        return (self.options.temperature,)

    def takes_cut_rows(self) -> bool:
        """Whether the divergence is the forward KL."""
        return self.options.divergence == "forward-kl"

    def train(self, context: TrainContext) -> Trained:
        """Trains on the transfer set.

        Raises:
            KdprobeError: The transfer set keeps less of the teacher than this objective needs.
        """
        student, examples = _taught(context, "logits", rows=True)
        if context.transfer is not None:
            refuse_insufficient("logits", self, context.transfer)
        return _train(student, examples, self.options.objective, self.options, context)


class SequenceDistiller:
    """Cross-entropy on the teacher's responses: sequence-level distillation (Kim & Rush, 2016, arXiv 1606.07947)."""

    needs: frozenset[Need] = frozenset({"responses"})

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options

    def temperatures(self) -> tuple[float, ...]:
        """None: it reads only the responses."""
        return ()

    def train(self, context: TrainContext) -> Trained:
        """Trains on the transfer set's responses.

        Raises:
            KdprobeError: The student's tokenizer is not the teacher's.
        """
        student, examples = _taught(context, "sequence", rows=False)
        return _train(student, examples, _cross_entropy(), self.options, context)


class FineTuneDistiller:
    """Cross-entropy on the gold solutions, without a teacher: the control that shows what distillation adds."""

    needs: frozenset[Need] = frozenset({"gold"})

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options

    def temperatures(self) -> tuple[float, ...]:
        """None: it uses no transfer set."""
        return ()

    def train(self, context: TrainContext) -> Trained:
        """Trains on the worked gold solutions without calculator annotations."""
        from kdprobe.distill.training.launch import load_base

        student = load_base(context)
        examples = from_gold(context.problems, context.conversations, student.tokenizer)
        return _train(student, examples, _cross_entropy(), self.options, context)


def _cross_entropy() -> Objective:
    from kdprobe.distill.objectives import Objective

    return Objective()


def _train(
    student: LoadedModel,
    examples: Sequence[Example],
    objective: Objective,
    options: TrainingOptions,
    context: TrainContext,
) -> Trained:
    from kdprobe.distill.training.trainer import train

    return train(student, examples, objective, options, context)


def _taught(context: TrainContext, distiller: str, *, rows: bool) -> tuple[LoadedModel, LazySequence[Example]]:
    """The student, and training examples made from the teacher's answers, with or without its distributions."""
    if context.transfer is None:
        raise KdprobeError(f"The distiller {distiller!r} was given no transfer set.")
    from kdprobe.distill.training.launch import load_base

    student = load_base(context)
    return student, from_transfer(context.transfer, context.conversations, student.tokenizer, rows=rows)
